// A daemon that a test plays itself, line by line, on a real socket. Every wait ends with an error
// after 20 s.
package io.github.dispatchd.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.dispatchd.client.internal.Json;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;

final class ScriptedDaemon implements AutoCloseable {
  static final long WAIT_SECONDS = 20;

  final Path socket;
  private final Path folder;
  private final List<Connection> connections = new ArrayList<>();
  private ServerSocketChannel listener;

  ScriptedDaemon() throws IOException {
    folder = Files.createTempDirectory("scripted");
    socket = folder.resolve("d.sock");
    listen();
  }

  void listen() throws IOException {
    listener = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
    listener.bind(UnixDomainSocketAddress.of(socket));
  }

  void stopListening() throws IOException {
    listener.close();
    Files.deleteIfExists(socket);
  }

  /** The next connection, with hello read, and answered. */
  Connection accept() throws Exception {
    Connection connection = acceptSilently();
    String hello = connection.line();
    assertTrue(hello.startsWith("{\"op\":\"hello\""), hello);
    connection.send("{\"op\":\"hello\",\"ok\":true,\"version\":1,\"producerId\":\"p@host\"}");
    return connection;
  }

  /** The next connection, with nothing read. */
  Connection acceptSilently() throws Exception {
    listener.configureBlocking(false);
    SocketChannel[] channel = {null};
    await(
        () -> {
          try {
            return (channel[0] = listener.accept()) != null;
          } catch (IOException e) {
            throw new IllegalStateException(e);
          }
        });
    Connection connection = new Connection(channel[0]);
    connections.add(connection);
    return connection;
  }

  static void await(BooleanSupplier condition) throws InterruptedException {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(WAIT_SECONDS);
    while (!condition.getAsBoolean()) {
      assertTrue(System.nanoTime() < deadline, "the condition does not come about");
      Thread.sleep(2);
    }
  }

  @Override
  public void close() throws IOException {
    for (Connection connection : connections) connection.cut();
    stopListening();
    Files.deleteIfExists(folder);
  }

  static final class Connection {
    private static final String END = "the end";

    private final SocketChannel channel;
    private final BlockingQueue<String> lines = new LinkedBlockingQueue<>();
    private Thread reader;

    Connection(SocketChannel channel) {
      this.channel = channel;
    }

    /** The next line. Until it is first called, nothing is read from the socket. */
    String line() throws InterruptedException {
      if (reader == null) {
        reader = new Thread(this::read);
        reader.setDaemon(true);
        reader.start();
      }
      String line = lines.poll(WAIT_SECONDS, TimeUnit.SECONDS);
      assertNotNull(line, "no line comes");
      return line;
    }

    /** The next line, read as JSON. */
    Map<?, ?> next() throws InterruptedException {
      byte[] line = line().getBytes(StandardCharsets.UTF_8);
      return (Map<?, ?>) Json.read(line, 0, line.length);
    }

    /** Whether no line has been read that was not asked for. */
    boolean silent() {
      return lines.isEmpty();
    }

    void awaitEnd() throws InterruptedException {
      for (String line = line(); !line.equals(END); ) line = line();
    }

    private void read() {
      ByteArrayOutputStream line = new ByteArrayOutputStream();
      try {
        InputStream in = Channels.newInputStream(channel);
        byte[] chunk = new byte[64 << 10];
        for (int n; (n = in.read(chunk)) > 0; ) {
          for (int i = 0; i < n; i++) {
            if (chunk[i] != '\n') {
              line.write(chunk[i]);
              continue;
            }
            lines.add(line.toString(StandardCharsets.UTF_8));
            line.reset();
          }
        }
      } catch (IOException e) {
        // The test has cut the connection.
      }
      lines.add(END);
    }

    void send(String line) throws IOException {
      sendPart(line + "\n");
    }

    void sendPart(String text) throws IOException {
      ByteBuffer bytes = ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8));
      while (bytes.hasRemaining()) channel.write(bytes);
    }

    /** Acks the event of a line. */
    void ack(Map<?, ?> line) throws IOException {
      send(acked(line));
    }

    static String acked(Map<?, ?> line) {
      String ref = line.get("ref").toString();
      Object id = ((Map<?, ?>) line.get("options")).get("id");
      return "{\"ref\":%s,\"ok\":true,\"id\":\"%s\",\"timestamp\":\"2026-01-01T00:00:00.000Z\","
              .formatted(ref, id)
          + "\"partitionKey\":\"k\",\"shardId\":\"shard-1\",\"sequenceNumber\":\"4"
          + ref
          + "\"}";
    }

    static String refused(Map<?, ?> line, String code, boolean retryable, String outcome) {
      String known = outcome == null ? "" : ",\"outcome\":\"" + outcome + "\"";
      return "{\"ref\":%s,\"ok\":false,\"error\":{\"code\":\"%s\",\"message\":\"why\",\"retryable\":%s%s}}"
          .formatted(line.get("ref"), code, retryable, known);
    }

    void refuse(Map<?, ?> line, String code, boolean retryable, String outcome) throws IOException {
      send(refused(line, code, retryable, outcome));
    }

    /** The next line is a control line, with this operation and transaction. */
    void expect(String op, String tx) throws InterruptedException {
      Map<?, ?> line = next();
      assertEquals(op, line.get("op"), line.toString());
      assertEquals(tx, line.get("tx"), line.toString());
    }

    void cut() throws IOException {
      channel.close();
    }
  }
}
