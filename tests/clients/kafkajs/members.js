// Members of a group: what they own, what they read, and how often the group was balanced anew.
'use strict'

const { PartitionAssigners } = require('kafkajs')
const { setTimeout: delay } = require('node:timers/promises')

const { same } = require('./checks')
const { withProducer } = require('./produce')

const PARTITIONS = [0, 1, 2, 3]
const WITHIN_MS = 30_000

const inOrder = (numbers) => [...numbers].sort((a, b) => a - b)

/** Polls until `condition` holds; a member that failed meanwhile fails it. */
async function eventually(what, condition, members = []) {
  const end = Date.now() + WITHIN_MS
  while (!(await condition())) {
    const failed = members.find(({ error }) => error)
    if (failed) throw failed.error
    if (Date.now() > end) {
      const owned = JSON.stringify(members.map((member) => member.owned))
      throw new Error(`${what}: not within ${WITHIN_MS} ms, members own ${owned}`)
    }
    await delay(20)
  }
}

/** A consumer of a group on the topic of the same name. It commits what it was asked to, and nothing else. */
class Member {
  constructor(kafka, group) {
    this.group = group
    this.owned = []
    this.records = []
    this.rebalances = 0
    this.restarts = 0
    this.error = null
    this.consumer = kafka.consumer({
      groupId: group,
      sessionTimeout: 6000,
      rebalanceTimeout: 10000,
      heartbeatInterval: 500,
      maxWaitTimeInMs: 100,
      partitionAssigners: [PartitionAssigners.roundRobin],
      retry: { initialRetryTime: 20, retries: 8 },
    })
    const { GROUP_JOIN, REBALANCING, CRASH } = this.consumer.events
    this.consumer.on(GROUP_JOIN, ({ payload }) => {
      this.owned = inOrder(payload.memberAssignment[group] ?? [])
      this.rebalances += 1
    })
    this.consumer.on(REBALANCING, () => (this.owned = []))
    // One that it begins anew after is not the end: the coordinator may have been loading.
    this.consumer.on(CRASH, ({ payload }) => {
      this.restarts += payload.restart ? 1 : 0
      this.error = payload.restart ? null : payload.error
    })
  }

  async start() {
    await this.consumer.connect()
    await this.consumer.subscribe({ topics: [this.group], fromBeginning: true })
    await this.consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => this.records.push({ partition, ...message }),
    })
    return this
  }

  /** Partition and offset of what it has read, in order. */
  read() {
    return this.records
      .map(({ partition, offset }) => [partition, Number(offset)])
      .sort(([a, b], [c, d]) => a - c || b - d)
  }

  commit(offsets) {
    const each = ({ partition, offset, metadata }) => ({ topic: this.group, partition, offset, metadata })
    return this.consumer.commitOffsets(offsets.map(each))
  }

  /** Commits the end of what it has read. */
  commitRead() {
    const ends = new Map(this.read().map(([partition, offset]) => [partition, String(offset + 1)]))
    return this.commit([...ends].map(([partition, offset]) => ({ partition, offset })))
  }

  /** Leaves the group. */
  async leave() {
    await this.consumer.disconnect()
    this.owned = []
  }
}

/** Waits until these members, and no other, share all partitions as evenly as can be. */
async function settled(what, members) {
  const least = Math.floor(PARTITIONS.length / members.length)
  const shared = () => {
    const owned = members.map((member) => member.owned)
    const even = owned.every(({ length }) => length >= least && length <= least + 1)
    return even && inOrder(owned.flat()).join() === PARTITIONS.join()
  }
  await eventually(what, shared, members)
}

/** So many records to each partition, from an offset on. */
async function produceTo(kafka, topic, from, count) {
  const message = (partition, at) => ({ partition, value: `${from + at}` })
  const messages = PARTITIONS.flatMap((partition) => Array.from({ length: count }, (_, at) => message(partition, at)))
  await withProducer(kafka, {}, async (producer) => {
    const answers = await producer.send({ topic, acks: -1, messages })
    same('where they begin', PARTITIONS.map(() => String(from)), answers.map(({ baseOffset }) => baseOffset))
  })
}

/** Partition and offset of every record between two offsets. */
const recordsOf = (first, end) =>
  PARTITIONS.flatMap((partition) => Array.from({ length: end - first }, (_, at) => [partition, first + at]))

module.exports = { Member, eventually, settled, produceTo, recordsOf, PARTITIONS }
