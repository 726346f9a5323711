// Reads a stream through splits and merges as the SDK for Go v2 is used for it: page by page, from a shard's end to its
// children. Arguments: endpoint, stream, number of records. Prints a record a line: its data.
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
	ctx, endpoint, stream, left := context.Background(), os.Args[1], os.Args[2], must(strconv.Atoi(os.Args[3]))
	credentials := func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "local", SecretAccessKey: "local"}, nil
	}
	client := kinesis.New(kinesis.Options{
		BaseEndpoint: &endpoint,
		Region:       "us-east-1",
		Credentials:  aws.CredentialsProviderFunc(credentials),
	})
	start := func(shard string) *string {
		return must(client.GetShardIterator(ctx, &kinesis.GetShardIteratorInput{
			StreamName:        &stream,
			ShardId:           &shard,
			ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
		})).ShardIterator
	}
	iterators := map[string]*string{}
	for _, shard := range must(client.ListShards(ctx, &kinesis.ListShardsInput{StreamName: &stream})).Shards {
		if shard.ParentShardId == nil {
			iterators[*shard.ShardId] = start(*shard.ShardId)
		}
	}
	ended, waiting := map[string]bool{}, map[string][]string{}
	for left > 0 {
		for shard, iterator := range iterators {
			page := must(client.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: iterator, Limit: aws.Int32(100)}))
			left -= len(page.Records)
			for _, record := range page.Records {
				fmt.Println(string(record.Data))
			}
			iterators[shard] = page.NextShardIterator
			if page.NextShardIterator != nil {
				continue
			}
			delete(iterators, shard)
			ended[shard] = true
			if *page.MillisBehindLatest != 0 {
				log.Fatalf("%s ends %d ms behind", shard, *page.MillisBehindLatest)
			}
			for _, child := range page.ChildShards {
				waiting[*child.ShardId] = child.ParentShards
			}
			for child, parents := range waiting {
				if allIn(ended, parents) {
					delete(waiting, child)
					iterators[child] = start(child)
				}
			}
		}
	}
}

func allIn(ended map[string]bool, parents []string) bool {
	for _, parent := range parents {
		if !ended[parent] {
			return false
		}
	}
	return true
}
