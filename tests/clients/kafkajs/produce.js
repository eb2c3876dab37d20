// Writes the records that it is given with every codec. Another client reads them back and compares.
'use strict'

const { Partitioners } = require('kafkajs')

const { check, refused, same } = require('./checks')
const codecs = require('./codecs')

const BATCH = 250
const PRODUCERS = {
  plain: { settings: {}, acks: 1 },
  idempotent: { settings: { idempotent: true, maxInFlightRequests: 1 }, acks: -1 },
}

/** Runs `action` with a producer that is connected. */
async function withProducer(kafka, settings, action) {
  const producer = kafka.producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    allowAutoTopicCreation: false,
    ...settings,
  })
  await producer.connect()
  try {
    return await action(producer)
  } finally {
    await producer.disconnect()
  }
}

/** A record as kafkajs takes it: the values of a header that comes again are a list below its name. */
function message({ key, value, headers, timestamp }) {
  const grouped = {}
  for (const [name, content] of headers) {
    grouped[name] = [...(grouped[name] ?? []), content]
  }
  return { key, value: value === null ? null : Buffer.from(value), headers: grouped, timestamp, partition: 0 }
}

/** Writes to partition 0, in several batches, each acknowledged before the next. */
async function written(producer, topic, records, { acks = -1, compression = codecs.none } = {}) {
  for (let at = 0; at < records.length; at += BATCH) {
    const messages = records.slice(at, at + BATCH).map(message)
    const [answer, ...others] = await producer.send({ topic, acks, compression, messages })
    same('answers for other partitions', [], others)
    same('the offset of a batch', [0, 0, String(at)], [answer.partition, answer.errorCode, answer.baseOffset])
  }
}

async function produce(kafka, admin, records) {
  for (const [codec, compression] of Object.entries(codecs)) {
    for (const [kind, { settings, acks }] of Object.entries(PRODUCERS)) {
      await check(`produce-${codec}-${kind}`, async () => {
        const topic = `${codec}-${kind}`
        same('whether it is created', true, await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] }))
        await withProducer(kafka, settings, (producer) => written(producer, topic, records, { acks, compression }))
      })
    }
  }
  await check('produce-unknown-topic', () =>
    withProducer(kafka, {}, (producer) =>
      refused('a topic that is not there', 'UNKNOWN_TOPIC_OR_PARTITION', () =>
        written(producer, 'absent', records.slice(0, 1)),
      ),
    ),
  )
}

module.exports = { produce, withProducer, written }
