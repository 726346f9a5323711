// A connection to the daemon: lines out, joined into large writes, and lines in. Never blocks, and
// knows nothing of what the lines say.
package io.github.dispatchd.client;

import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.file.Path;

final class Wire {
  /** Gives the wire the next line to write, by `put`, or returns false. */
  interface Lines {
    boolean next(Wire wire);
  }

  /** Takes a line that was read: the bytes from `from` to `to`. */
  interface Reader {
    void line(byte[] bytes, int from, int to) throws IOException;
  }

  private static final int CHUNK_BYTES = 64 << 10;

  /** The longest line that is read. The results of a large transaction have some MiB. */
  private static final int LINE_BYTES_MAX = 64 << 20;

  /** Longer than the part of a line that stands before an event's body. */
  private static final int HEAD_BYTES_MAX = 128;

  private static final byte[] NOTHING = {};

  private final SocketChannel channel;
  private final SelectionKey key;
  private final ByteBuffer out = ByteBuffer.allocateDirect(CHUNK_BYTES);

  /** The line that is being copied to `out`, from `bodyAt` on. */
  private byte[] body = NOTHING;

  private int bodyAt;

  /** What was read: the unfinished line stands at `start`, and has no line break before `end`. */
  private byte[] in = new byte[CHUNK_BYTES];

  private int start;
  private int end;

  Wire(Path socket, Selector selector) throws IOException {
    channel = SocketChannel.open(StandardProtocolFamily.UNIX);
    try {
      channel.configureBlocking(false);
      if (!channel.connect(UnixDomainSocketAddress.of(socket))) {
        throw new IOException("its queue of connections is full");
      }
      key = channel.register(selector, SelectionKey.OP_READ);
    } catch (IOException e) {
      close();
      throw e;
    }
  }

  /** Adds a line. Only when `hasRoom`. */
  void put(String head, byte[] body) {
    for (int i = 0; i < head.length(); i++) out.put((byte) head.charAt(i));
    this.body = body;
    bodyAt = 0;
    copy();
  }

  private boolean hasRoom() {
    return bodyAt == body.length && out.remaining() >= HEAD_BYTES_MAX;
  }

  private void copy() {
    int bytes = Math.min(out.remaining(), body.length - bodyAt);
    out.put(body, bodyAt, bytes);
    bodyAt += bytes;
    if (bodyAt == body.length) {
      body = NOTHING;
      bodyAt = 0;
    }
  }

  /** Writes lines until there are none, or the daemon takes no more now. */
  void write(Lines lines) throws IOException {
    boolean more = true;
    while (true) {
      copy();
      while (more && hasRoom()) more = lines.next(this);
      out.flip();
      if (out.hasRemaining()) channel.write(out);
      boolean blocked = out.hasRemaining();
      out.compact();
      if (blocked || (!more && body.length == 0)) {
        int ops = blocked ? SelectionKey.OP_READ | SelectionKey.OP_WRITE : SelectionKey.OP_READ;
        if (key.interestOps() != ops) key.interestOps(ops);
        return;
      }
    }
  }

  /** Whether the last select found something to read. */
  boolean readable() {
    return key.isReadable();
  }

  /** Reads once. False if there was nothing to read. */
  boolean read(Reader reader) throws IOException {
    if (end == in.length) makeRoom();
    int read = channel.read(ByteBuffer.wrap(in, end, Math.min(CHUNK_BYTES, in.length - end)));
    if (read < 0) throw new IOException("the daemon closed the connection");
    int scanned = end;
    end += read;
    for (int i = scanned; i < end; i++) {
      if (in[i] != '\n') continue;
      reader.line(in, start, i);
      start = i + 1;
    }
    if (start == end) {
      start = 0;
      end = 0;
      if (in.length > CHUNK_BYTES) in = new byte[CHUNK_BYTES];
    }
    return read > 0;
  }

  private void makeRoom() throws IOException {
    int kept = end - start;
    if (kept > LINE_BYTES_MAX) throw new IOException("the daemon sent a line without an end");
    byte[] roomy = kept < in.length / 2 ? in : new byte[in.length * 2];
    System.arraycopy(in, start, roomy, 0, kept);
    in = roomy;
    start = 0;
    end = kept;
  }

  void close() {
    try {
      channel.close();
    } catch (IOException e) {
      // The descriptor is released all the same, and there is nothing more to lose.
    }
  }
}
