// Writes with the SDK for Java 2.x as an application does that knows nothing of dispatchd: the endpoint comes from
// AWS_ENDPOINT_URL_KINESIS. Its bodies are CBOR. Arguments: sync or async, stream, single records, calls of 100 records.
// Prints what python/writer.py prints.

import java.util.ArrayList;
import java.util.List;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.http.apache.ApacheHttpClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisClient;
import software.amazon.awssdk.services.kinesis.model.ListShardsRequest;
import software.amazon.awssdk.services.kinesis.model.ListShardsResponse;
import software.amazon.awssdk.services.kinesis.model.PutRecordRequest;
import software.amazon.awssdk.services.kinesis.model.PutRecordResponse;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequest;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequestEntry;
import software.amazon.awssdk.services.kinesis.model.PutRecordsResponse;
import software.amazon.awssdk.services.kinesis.model.PutRecordsResultEntry;

public final class Writer {
    interface Kinesis extends AutoCloseable {
        PutRecordResponse put(PutRecordRequest request);

        PutRecordsResponse put(PutRecordsRequest request);

        ListShardsResponse list(ListShardsRequest request);
    }

    static Kinesis sync() {
        KinesisClient client = KinesisClient.builder().httpClient(ApacheHttpClient.create()).build();
        return new Kinesis() {
            public PutRecordResponse put(PutRecordRequest request) { return client.putRecord(request); }

            public PutRecordsResponse put(PutRecordsRequest request) { return client.putRecords(request); }

            public ListShardsResponse list(ListShardsRequest request) { return client.listShards(request); }

            public void close() { client.close(); }
        };
    }

    static Kinesis async() {
        KinesisAsyncClient client = KinesisAsyncClient.create();
        return new Kinesis() {
            public PutRecordResponse put(PutRecordRequest request) { return client.putRecord(request).join(); }

            public PutRecordsResponse put(PutRecordsRequest request) { return client.putRecords(request).join(); }

            public ListShardsResponse list(ListShardsRequest request) { return client.listShards(request).join(); }

            public void close() { client.close(); }
        };
    }

    public static void main(String[] args) throws Exception {
        String stream = args[1];
        int singles = Integer.parseInt(args[2]), calls = Integer.parseInt(args[3]);
        try (Kinesis kinesis = args[0].equals("sync") ? sync() : async()) {
            for (int place = 0; place < singles; place++) {
                String data = "one:" + place;
                PutRecordResponse put = kinesis.put(PutRecordRequest.builder()
                    .streamName(stream).data(SdkBytes.fromUtf8String(data)).partitionKey("one").build());
                System.out.println(data + " " + put.sequenceNumber() + " " + put.shardId());
            }
            for (int call = 0; call < calls; call++) {
                List<String> names = new ArrayList<>();
                List<PutRecordsRequestEntry> entries = new ArrayList<>();
                for (int n = 0; n < 100; n++) {
                    String key = "key-" + n % 10, name = key + ":" + (call * 10 + n / 10);
                    names.add(name);
                    entries.add(PutRecordsRequestEntry.builder()
                        .data(SdkBytes.fromUtf8String(name)).partitionKey(key).build());
                }
                PutRecordsResponse put =
                    kinesis.put(PutRecordsRequest.builder().streamName(stream).records(entries).build());
                for (int n = 0; n < 100; n++) {
                    PutRecordsResultEntry record = put.records().get(n);
                    String end = record.sequenceNumber() == null
                        ? "failed " + record.errorCode()
                        : record.sequenceNumber() + " " + record.shardId();
                    System.out.println(names.get(n) + " " + end);
                }
            }
            int shards = kinesis.list(ListShardsRequest.builder().streamName(stream).build()).shards().size();
            System.out.println("shards " + shards);
        }
    }
}
