import java.net.URI;
import java.nio.charset.StandardCharsets;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.common.KinesisClientUtil;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.retrieval.fanout.FanOutConfig;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/**
 * A worker of the KCL as its users write one. Its clients speak as the KCL makes them: HTTP/2 with prior knowledge, CBOR.
 *
 * Arguments: application, stream, Kinesis' endpoint, DynamoDB's endpoint, "polling" (GetRecords) or "fan-out"
 * (SubscribeToShard). Prints an event a line: "record" and its data, or
 * "end" and the shard that was read to its end. Runs until it is killed.
 */
public class Reader implements ShardRecordProcessor {
    private String shard;

    /** One line, whole: several shards are read at a time. */
    private static synchronized void say(String line) {
        System.out.println(line);
    }

    @Override
    public void initialize(InitializationInput input) {
        shard = input.shardId();
    }

    @Override
    public void processRecords(ProcessRecordsInput input) {
        input.records().forEach(record -> say("record " + StandardCharsets.UTF_8.decode(record.data())));
        checkpoint(input.checkpointer());
    }

    @Override
    public void shardEnded(ShardEndedInput input) {
        checkpoint(input.checkpointer());
        say("end " + shard);
    }

    @Override
    public void leaseLost(LeaseLostInput input) {
        throw new IllegalStateException("there is no other worker, and " + shard + " was lost");
    }

    @Override
    public void shutdownRequested(ShutdownRequestedInput input) {
        checkpoint(input.checkpointer());
    }

    private static void checkpoint(RecordProcessorCheckpointer checkpointer) {
        try {
            checkpointer.checkpoint();
        } catch (InvalidStateException | ShutdownException error) {
            throw new IllegalStateException(error);
        }
    }

    public static void main(String[] args) {
        String application = args[0];
        String stream = args[1];
        Region region = Region.US_EAST_1;
        var credentials = StaticCredentialsProvider.create(AwsBasicCredentials.create("local", "local"));
        KinesisAsyncClient kinesis = KinesisClientUtil.createKinesisAsyncClient(KinesisAsyncClient.builder()
                .region(region).credentialsProvider(credentials).endpointOverride(URI.create(args[2])));
        DynamoDbAsyncClient dynamo = DynamoDbAsyncClient.builder()
                .region(region).credentialsProvider(credentials).endpointOverride(URI.create(args[3])).build();
        // Nobody asks it: the metrics go nowhere.
        CloudWatchAsyncClient cloudWatch =
                CloudWatchAsyncClient.builder().region(region).credentialsProvider(credentials).build();

        var start = InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON);
        var configs = new ConfigsBuilder(
                new SingleStreamTracker(stream, start), application, kinesis, dynamo, cloudWatch, "worker", Reader::new);
        var retrieval = configs.retrievalConfig().retrievalSpecificConfig(
                args[4].equals("fan-out")
                        ? new FanOutConfig(kinesis).streamName(stream).applicationName(application)
                        : new PollingConfig(stream, kinesis));
        var scheduler = new Scheduler(
                configs.checkpointConfig(),
                // Waits for nobody: what takes minutes by default is done in seconds, in the same order.
                configs.coordinatorConfig().parentShardPollIntervalMillis(500),
                configs.leaseManagementConfig().failoverTimeMillis(2_000),
                configs.lifecycleConfig(),
                configs.metricsConfig().metricsFactory(new NullMetricsFactory()),
                configs.processorConfig(),
                retrieval);
        scheduler.run();
    }
}
