// franz-go as a member of a group, or as a producer. The lines it prints are those of
// tests/clients/python/member.py; it ends when its standard input does.
//
// Usage: franz-go member BOOTSTRAP GROUP TOPIC eager|cooperative|consumer [INSTANCE]
//
//	franz-go produce BOOTSTRAP TOPIC PARTITIONS
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What a commit is told that comes after a rebalance.
var late = []error{
	kerr.RebalanceInProgress, kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.StaleMemberEpoch, kerr.FencedMemberEpoch,
}

var styles = map[string][]kgo.Opt{
	"eager":       {kgo.Balancers(kgo.RangeBalancer())},
	"cooperative": {kgo.Balancers(kgo.CooperativeStickyBalancer())},
	"consumer":    {kgo.Balancers(kgo.StickyBalancer()), kgo.ServerSideBalancer()},
}

func main() {
	log.SetFlags(0)
	switch words := os.Args[2:]; os.Args[1] {
	case "member":
		member(words[0], words[1], words[2], words[3], words[4:])
	case "produce":
		partitions, err := strconv.Atoi(words[2])
		check(err)
		produce(words[0], words[1], partitions)
	}
}

// The partitions of one member, told whenever they change.
type share struct {
	lock  sync.Mutex
	owned map[int32]bool
}

func (s *share) change(partitions []int32, have bool) {
	s.lock.Lock()
	defer s.lock.Unlock()
	for _, partition := range partitions {
		if have {
			s.owned[partition] = true
		} else {
			delete(s.owned, partition)
		}
	}
	words := []any{"owns"}
	for _, partition := range slices.Sorted(maps.Keys(s.owned)) {
		words = append(words, partition)
	}
	fmt.Println(words...)
}

func member(bootstrap, group, topic, style string, instance []string) {
	mine := share{owned: map[int32]bool{}}
	changed := func(have bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, changes map[string][]int32) { mine.change(changes[topic], have) }
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(6 * time.Second), kgo.HeartbeatInterval(500 * time.Millisecond),
		kgo.OnPartitionsAssigned(changed(true)), kgo.OnPartitionsRevoked(changed(false)), kgo.OnPartitionsLost(changed(false)),
		kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelWarn, nil)),
	}
	options = append(options, styles[style]...)
	for _, name := range instance {
		options = append(options, kgo.InstanceID(name))
	}
	client, err := kgo.NewClient(options...)
	check(err)
	// What is polled until the input ends.
	living, end := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		end()
	}()
	for living.Err() == nil {
		step(living, client)
		client.AllowRebalance()
	}
	client.CloseAllowingRebalance()
}

func step(living context.Context, client *kgo.Client) {
	fetches := client.PollRecords(living, 500)
	for _, failed := range fetches.Errors() {
		// A coordinator that is on its way is asked again by the client itself.
		var joining *kgo.ErrGroupSession
		if !errors.Is(failed.Err, context.Canceled) && !errors.As(failed.Err, &joining) {
			log.Fatalf("partition %d: %v", failed.Partition, failed.Err)
		}
	}
	records := fetches.Records()
	var lines strings.Builder
	for _, record := range records {
		fmt.Fprintln(&lines, "seen", record.Partition, record.Offset, string(record.Value))
	}
	// Said before it is committed: a member that is killed in between has not lost it.
	fmt.Print(lines.String())
	if len(records) == 0 {
		return
	}
	err := client.CommitRecords(context.Background(), records...)
	if slices.ContainsFunc(late, func(one error) bool { return errors.Is(err, one) }) {
		fmt.Println("late", err)
		return
	}
	check(err)
	ends := map[int32]int64{}
	for _, record := range records {
		ends[record.Partition] = record.Offset + 1
	}
	for partition, end := range ends {
		fmt.Println("committed", partition, end)
	}
}

func produce(bootstrap, topic string, partitions int) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5*time.Millisecond))
	check(err)
	written := 0
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		count, err := strconv.Atoi(lines.Text())
		check(err)
		for number := written; number < written+count; number++ {
			record := &kgo.Record{Partition: int32(number % partitions), Value: []byte(strconv.Itoa(number))}
			client.Produce(context.Background(), record, func(_ *kgo.Record, err error) { check(err) })
		}
		check(client.Flush(context.Background()))
		written += count
		fmt.Println("written", written)
	}
	client.Close()
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
