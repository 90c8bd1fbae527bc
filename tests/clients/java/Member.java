import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Kafka's own client as a member of a group, or as a producer. The lines it prints are those of
 * tests/clients/python/member.py; it ends when its standard input does.
 *
 * <p>Usage: Member member BOOTSTRAP GROUP TOPIC eager|cooperative|consumer [INSTANCE]
 * <br>Member produce BOOTSTRAP TOPIC PARTITIONS
 */
public final class Member {
    private static final Map<String, Map<String, String>> STYLES = Map.of(
        "eager", classic(RangeAssignor.class),
        "cooperative", classic(CooperativeStickyAssignor.class),
        "consumer", Map.of("group.protocol", "consumer"));

    public static void main(String[] words) throws Exception {
        if (words[0].equals("member")) {
            member(words[1], words[2], words[3], words[4], words.length > 5 ? words[5] : null);
        } else {
            produce(words[1], words[2], Integer.parseInt(words[3]));
        }
    }

    private static Map<String, String> classic(Class<?> assignor) {
        return Map.of("group.protocol", "classic", "session.timeout.ms", "6000", "heartbeat.interval.ms", "500",
            "partition.assignment.strategy", assignor.getName());
    }

    private static void member(String bootstrap, String group, String topic, String style, String instance) {
        Properties settings = new Properties();
        settings.putAll(Map.of("bootstrap.servers", bootstrap, "group.id", group, "auto.offset.reset", "earliest",
            "enable.auto.commit", "false"));
        settings.putAll(STYLES.get(style));
        if (instance != null) {
            settings.put("group.instance.id", instance);
        }
        AtomicBoolean ended = inputEnded();
        var read = new StringDeserializer();
        try (var consumer = new KafkaConsumer<>(settings, read, read)) {
            consumer.subscribe(List.of(topic));
            TreeSet<Integer> told = null;
            while (!ended.get()) {
                var records = consumer.poll(Duration.ofMillis(200));
                var owned = consumer.assignment().stream().map(it -> it.partition()).collect(Collectors.toCollection(TreeSet::new));
                if (!owned.equals(told)) {
                    told = owned;
                    say("owns" + owned.stream().map(partition -> " " + partition).collect(Collectors.joining()));
                }
                Map<Integer, Long> ends = new TreeMap<>();
                for (ConsumerRecord<String, String> record : records) {
                    // Said before it is committed: a member that is killed in between has not lost it.
                    say("seen " + record.partition() + " " + record.offset() + " " + record.value());
                    ends.put(record.partition(), record.offset() + 1);
                }
                System.out.flush();
                if (!ends.isEmpty()) {
                    commit(consumer, ends);
                }
            }
        }
    }

    private static void commit(KafkaConsumer<String, String> consumer, Map<Integer, Long> ends) {
        try {
            consumer.commitSync();
            ends.forEach((partition, end) -> say("committed " + partition + " " + end));
        } catch (CommitFailedException | RebalanceInProgressException error) {
            say("late " + error.getClass().getSimpleName());
        }
        System.out.flush();
    }

    private static AtomicBoolean inputEnded() {
        AtomicBoolean ended = new AtomicBoolean();
        Thread waiting = new Thread(() -> {
            try {
                System.in.readAllBytes();
            } catch (IOException gone) {
                // As good as its end.
            }
            ended.set(true);
        });
        waiting.setDaemon(true);
        waiting.start();
        return ended;
    }

    private static void produce(String bootstrap, String topic, int partitions) throws Exception {
        Properties settings = new Properties();
        settings.putAll(Map.of("bootstrap.servers", bootstrap, "linger.ms", "5"));
        var write = new StringSerializer();
        try (var producer = new KafkaProducer<>(settings, write, write)) {
            var lines = new BufferedReader(new InputStreamReader(System.in));
            int written = 0;
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                List<Future<RecordMetadata>> sent = new ArrayList<>();
                for (int end = written + Integer.parseInt(line); written < end; written++) {
                    sent.add(producer.send(new ProducerRecord<>(topic, written % partitions, null, String.valueOf(written))));
                }
                producer.flush();
                for (Future<RecordMetadata> one : sent) {
                    one.get();
                }
                say("written " + written);
                System.out.flush();
            }
        }
    }

    private static void say(String line) {
        System.out.println(line);
    }
}
