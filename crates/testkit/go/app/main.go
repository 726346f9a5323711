// An application with the SDK for Go v2 that knows nothing of dispatchd: the endpoint comes from AWS_ENDPOINT_URL_KINESIS.
//
//	app paced STREAM RATE SECONDS   PutRecord, due at a rate whatever becomes of those before. Prints how many were
//	                                stored, then p50 and p99 from when a call was due to its reply, in microseconds.
//	app bulk STREAM CALLS           PutRecords of 100 records with 25 keys, by 8 goroutines with keys of their own. What a
//	                                reply says failed is sent again, as most applications do. Prints how many records
//	                                were told to be stored.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

const (
	tasks    = 8
	keys     = 25
	attempts = 3
)

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	credentials := func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "local", SecretAccessKey: "local"}, nil
	}
	client := kinesis.NewFromConfig(aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(os.Getenv("AWS_ENDPOINT_URL_KINESIS")),
		Credentials:  aws.CredentialsProviderFunc(credentials),
	})
	switch stream := os.Args[2]; os.Args[1] {
	case "paced":
		paced(client, stream, number(os.Args[3]), number(os.Args[4]))
	case "bulk":
		bulk(client, stream, number(os.Args[3]))
	}
}

func paced(client *kinesis.Client, stream string, rate, seconds int) {
	data := make([]byte, 400)
	for n := range data {
		data[n] = 'x'
	}
	var lock sync.Mutex
	var took []time.Duration
	var calls sync.WaitGroup
	began := time.Now()
	for n := range rate * seconds {
		due := began.Add(time.Second * time.Duration(n) / time.Duration(rate))
		time.Sleep(time.Until(due))
		calls.Add(1)
		go func() {
			defer calls.Done()
			key := fmt.Sprintf("customer-%06d", n%10000)
			_, err := client.PutRecord(context.Background(), &kinesis.PutRecordInput{
				StreamName: &stream, Data: data, PartitionKey: &key,
			})
			if err != nil {
				log.Fatal(err)
			}
			lock.Lock()
			took = append(took, time.Since(due))
			lock.Unlock()
		}()
	}
	calls.Wait()
	slices.Sort(took)
	fmt.Println(len(took), took[len(took)/2].Microseconds(), took[len(took)*99/100].Microseconds())
}

func bulk(client *kinesis.Client, stream string, calls int) {
	var stored atomic.Int64
	var group sync.WaitGroup
	for task := range tasks {
		group.Add(1)
		go func() {
			defer group.Done()
			for call := range calls / tasks {
				entries := make([]types.PutRecordsRequestEntry, 100)
				for n := range entries {
					key := fmt.Sprintf("key-%d-%d", task, n%keys)
					data := fmt.Sprintf("%s:%d", key, call*(100/keys)+n/keys)
					entries[n] = types.PutRecordsRequestEntry{Data: []byte(data), PartitionKey: &key}
				}
				stored.Add(int64(put(client, stream, entries)))
			}
		}()
	}
	group.Wait()
	fmt.Println(stored.Load())
}

// How many of the entries it is told are stored.
func put(client *kinesis.Client, stream string, entries []types.PutRecordsRequestEntry) (stored int) {
	for range attempts {
		reply, err := client.PutRecords(context.Background(), &kinesis.PutRecordsInput{StreamName: &stream, Records: entries})
		if err != nil {
			continue
		}
		var failed []types.PutRecordsRequestEntry
		for n, record := range reply.Records {
			if record.SequenceNumber == nil {
				failed = append(failed, entries[n])
			} else {
				stored++
			}
		}
		if entries = failed; len(entries) == 0 {
			break
		}
	}
	return stored
}
