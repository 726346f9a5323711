// Writes with the SDK for Go v2 as an application does that knows nothing of dispatchd: the endpoint comes from
// AWS_ENDPOINT_URL_KINESIS. Arguments: stream, single records, calls of 100 records. Prints what python/writer.py prints.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	ctx, stream := context.Background(), os.Args[1]
	singles, calls := must(strconv.Atoi(os.Args[2])), must(strconv.Atoi(os.Args[3]))
	credentials := func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "local", SecretAccessKey: "local"}, nil
	}
	// What the module `config` does with the environment, which is not downloaded for one variable.
	config := aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(os.Getenv("AWS_ENDPOINT_URL_KINESIS")),
		Credentials:  aws.CredentialsProviderFunc(credentials),
	}
	client := kinesis.NewFromConfig(config)
	for place := range singles {
		data := fmt.Sprintf("one:%d", place)
		put := must(client.PutRecord(ctx, &kinesis.PutRecordInput{
			StreamName: &stream, Data: []byte(data), PartitionKey: aws.String("one"),
		}))
		fmt.Println(data, *put.SequenceNumber, *put.ShardId)
	}
	for call := range calls {
		var entries []types.PutRecordsRequestEntry
		for n := range 100 {
			key := fmt.Sprintf("key-%d", n%10)
			data := fmt.Sprintf("%s:%d", key, call*10+n/10)
			entries = append(entries, types.PutRecordsRequestEntry{Data: []byte(data), PartitionKey: &key})
		}
		put := must(client.PutRecords(ctx, &kinesis.PutRecordsInput{StreamName: &stream, Records: entries}))
		for n, record := range put.Records {
			if record.SequenceNumber == nil {
				fmt.Println(string(entries[n].Data), "failed", *record.ErrorCode)
				continue
			}
			fmt.Println(string(entries[n].Data), *record.SequenceNumber, *record.ShardId)
		}
	}
	shards := must(client.ListShards(ctx, &kinesis.ListShardsInput{StreamName: &stream})).Shards
	fmt.Println("shards", len(shards))
}
