// kafkajs as a member of a group, or as a producer. It knows eager groups alone. The lines it prints are those of
// tests/clients/python/member.py; it ends when its standard input does.
//
// Usage: kafkajs-member.js member BOOTSTRAP GROUP TOPIC eager
//        kafkajs-member.js produce BOOTSTRAP TOPIC PARTITIONS

const readline = require('readline')
const { Kafka, logLevel } = require('kafkajs')

// What a commit is told that comes after a rebalance.
const LATE = ['REBALANCE_IN_PROGRESS', 'ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID']

// A pipe is written to at once: what is said before a commit is out before it.
const say = (...words) => process.stdout.write(words.join(' ') + '\n')
// Most waits between tries start at a third of a second and double.
const retry = { initialRetryTime: 100, maxRetryTime: 1000, retries: 20 }
const connect = bootstrap => new Kafka({ brokers: bootstrap.split(','), logLevel: logLevel.ERROR, retry })

async function member(bootstrap, group, topic) {
  const settings = { groupId: group, sessionTimeout: 6000, heartbeatInterval: 500, maxWaitTimeInMs: 200 }
  const consumer = connect(bootstrap).consumer(settings)
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => say('owns', ...(payload.memberAssignment[topic] || [])))
  consumer.on(consumer.events.REBALANCING, () => say('owns'))
  consumer.on(consumer.events.CRASH, ({ payload }) => payload.restart || fail(payload.error))
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const eachBatch = async ({ batch: { partition, messages }, resolveOffset, heartbeat }) => {
    for (const { offset, value } of messages) say('seen', partition, offset, value)
    const last = messages[messages.length - 1].offset
    const offset = String(BigInt(last) + 1n)
    try {
      await consumer.commitOffsets([{ topic, partition, offset }])
      say('committed', partition, offset)
      resolveOffset(last)
    } catch (error) {
      // An error that is tried no more has the first one as its cause.
      const { type } = error.cause || error
      if (!LATE.includes(type)) throw error
      say('late', type)
    }
    // This is what tells kafkajs to join again.
    await heartbeat()
  }
  await consumer.run({ autoCommit: false, eachBatchAutoResolve: false, eachBatch })
  process.stdin.on('end', () => consumer.disconnect().then(() => process.exit(0), fail)).resume()
}

async function produce(bootstrap, topic, partitions) {
  const producer = connect(bootstrap).producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  let written = 0
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const number = index => ({ value: String(written + index), partition: (written + index) % partitions })
    const messages = Array.from({ length: Number(line) }, (_, index) => number(index))
    await producer.send({ topic, messages })
    written += messages.length
    say('written', written)
  }
  await producer.disconnect()
}

function fail(error) {
  console.error(error)
  process.exit(1)
}

const [role, ...words] = process.argv.slice(2)
const roles = { member, produce }
roles[role](...words).catch(fail)
