// Consumer groups: each check has a group of its own on a topic of its own, so that they run side by side.
'use strict'

const { spawn } = require('node:child_process')
const { isDeepStrictEqual } = require('node:util')

const { ConfigResourceTypes } = require('kafkajs')

const { check, same } = require('./checks')
const codecs = require('./codecs')
const { Member, PARTITIONS, eventually, produceTo, recordsOf, settled } = require('./members')
const { withProducer, written } = require('./produce')

const NOT_EMPTY = 68
const NOT_FOUND = 69

async function created(admin, topic, numPartitions) {
  await admin.createTopics({ topics: [{ topic, numPartitions }], waitForLeaders: true })
}

const described = async (admin, group) => (await admin.describeGroups([group])).groups[0]

const members = async (admin, group) => (await described(admin, group)).members.length

const state = async (admin, group) => (await described(admin, group)).state

/** What is committed, by partition; kafkajs asks for every offset of a group by asking for no topic. */
async function offsets(admin, groupId) {
  const found = (await admin.fetchOffsets({ groupId })).flatMap(({ partitions }) => partitions)
  const pairs = found.map(({ partition, offset, metadata }) => [partition, [offset, metadata]])
  return Object.fromEntries(pairs.sort(([a], [b]) => a - b))
}

async function aloneAndResumed(kafka, admin, group) {
  await produceTo(kafka, group, 0, 10)
  const first = await new Member(kafka, group).start()
  await eventually('all records', () => first.records.length >= 40, [first])
  same('the records', recordsOf(0, 10), first.read())
  same('its partitions', PARTITIONS, first.owned)
  await first.commitRead()
  await first.leave()
  same('members after it has left', 0, await members(admin, group))
  await produceTo(kafka, group, 10, 2)
  const second = await new Member(kafka, group).start()
  await eventually('what is new', () => second.records.length >= 8, [second])
  same('what the second reads', recordsOf(10, 12), second.read())
  await second.leave()
}

async function shared(kafka, admin, group) {
  const join = () => new Member(kafka, group).start()
  const [one, two] = await Promise.all([join(), join()])
  await settled('two members share', [one, two])
  same('members', 2, await members(admin, group))
  const three = await join()
  await settled('three members share', [one, two, three])
  await produceTo(kafka, group, 0, 10)
  const all = [one, two, three]
  const read = () => all.flatMap((member) => member.records)
  await eventually('all is read', () => read().length >= 40, all)
  same('once, by its owner', 40, read().length)
  for (const member of all) {
    const owners = member.read().every(([partition]) => member.owned.includes(partition))
    same('whether it read what it owns', true, owners)
    await member.commitRead()
  }
  await two.leave()
  await settled('the others take over', [one, three])
  await Promise.all([one.leave(), three.leave()])
}

async function crashed(kafka, admin, group, bootstrap) {
  const survivor = await new Member(kafka, group).start()
  const other = spawn(process.execPath, [process.argv[1], bootstrap, 'member', group], {
    stdio: ['pipe', 'ignore', 'inherit'],
  })
  try {
    await eventually('the other has its half', () => survivor.owned.length === 2, [survivor])
    same('members', 2, await members(admin, group))
  } finally {
    other.kill('SIGKILL')
  }
  await settled('the other is replaced', [survivor])
  await produceTo(kafka, group, 0, 1)
  await eventually('its partitions are read', () => survivor.records.length >= 4, [survivor])
  same('the records', recordsOf(0, 1), survivor.read())
  await survivor.leave()
}

/**
 * A record that its consumer died with is given up, and until it is a dead letter nobody is told the position. That may
 * take longer than kafkajs asks again: its consumer begins anew, and goes on behind the record in the end.
 */
async function heldBack(kafka, admin, group, bootstrap) {
  const configure = (deadLetters) => {
    const values = { 'max.delivery.attempts': '1', 'dead.letter.topic': deadLetters }
    const configEntries = Object.entries(values).map(([name, value]) => ({ name, value }))
    const resources = [{ type: ConfigResourceTypes.TOPIC, name: group, configEntries }]
    return admin.alterConfigs({ resources, validateOnly: false })
  }
  // No topic is fit for its own dead letters.
  await configure(group)
  await produceTo(kafka, group, 0, 2)
  const other = spawn(process.execPath, [process.argv[1], bootstrap, 'member', group], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let read = 0
  other.stdout.on('data', (lines) => (read = Number(`${lines}`.trim().split('\n').pop())))
  try {
    await eventually('the other has read all', () => read >= 8)
  } finally {
    other.kill('SIGKILL')
  }
  const next = await new Member(kafka, group).start()
  await eventually('it gives up asking for its position', () => next.restarts >= 1)
  same('what it has read', [], next.read())
  await configure(`${group}.dead-letter`)
  await eventually('what is behind the dead letters', () => next.records.length >= 4, [next])
  same('the records', recordsOf(1, 2), next.read())
  await next.leave()
}

async function committed(kafka, admin, group) {
  // kafkajs's admin client does not ask again by itself while a coordinator loads.
  const loaded = () => offsets(admin, 'nobody-knows').then(() => true, loading)
  await eventually('its coordinator is there', loaded)
  same('of a group that nobody knows', {}, await offsets(admin, 'nobody-knows'))
  const member = await new Member(kafka, group).start()
  await settled('it has joined', [member])
  await member.commit([
    { partition: 0, offset: '3', metadata: 'a note' },
    { partition: 2, offset: '0', metadata: '' },
  ])
  const wanted = { 0: ['3', 'a note'], 2: ['0', null] }
  same('committed', wanted, await offsets(admin, group))
  await member.leave()
  same('after its end', wanted, await offsets(admin, group))
}

function loading(error) {
  if (error.type !== 'GROUP_LOAD_IN_PROGRESS') throw error
  return false
}

/** kafkajs throws one error that holds one for each group. */
async function deletionRefused(admin, group, code) {
  const error = await admin.deleteGroups([group]).then(
    () => null,
    (refusal) => refusal,
  )
  same('the error of a deletion', [code], (error?.groups ?? []).map(({ errorCode }) => errorCode))
}

async function administered(kafka, admin, group) {
  const listed = async () => (await admin.listGroups()).groups.some(({ groupId }) => groupId === group)
  const member = await new Member(kafka, group).start()
  await settled('it has joined', [member])
  await member.commit(PARTITIONS.map((partition) => ({ partition, offset: '5' })))
  same('whether it is listed', true, await listed())
  same('its state', 'Stable', await state(admin, group))
  await deletionRefused(admin, group, NOT_EMPTY)
  await member.leave()
  same('its state', 'Empty', await state(admin, group))
  // To set an offset kafkajs joins the group for a moment.
  await admin.setOffsets({ groupId: group, topic: group, partitions: [{ partition: 0, offset: '0' }] })
  const left = { 0: ['0', null], 1: ['5', null], 2: ['5', null], 3: ['5', null] }
  same('offsets', left, await offsets(admin, group))
  await admin.deleteGroups([group])
  same('whether it is listed', false, await listed())
  same('offsets of what is deleted', {}, await offsets(admin, group))
  await deletionRefused(admin, group, NOT_FOUND)
}

/** Reads what was written with every codec; Rust's tests compare the same with another client. */
async function everyCodec(kafka, admin, group) {
  const records = Array.from({ length: 500 }, (_, at) => ({
    key: at % 10 === 1 ? null : `key-${at}`,
    value: at % 10 === 3 ? null : 'value '.repeat(at % 50),
    headers: at % 10 === 5 ? [['twice', 'one'], ['twice', 'two'], ['empty', '']] : [],
    timestamp: String(1_700_000_000_000 + at),
  }))
  await withProducer(kafka, {}, async (producer) => {
    for (const [name, compression] of Object.entries(codecs)) {
      await created(admin, `${group}-${name}`, 1)
      await written(producer, `${group}-${name}`, records, { compression })
    }
  })
  const found = new Map()
  const consumer = kafka.consumer({ groupId: group, sessionTimeout: 6000, heartbeatInterval: 500 })
  await consumer.connect()
  await consumer.subscribe({ topics: Object.keys(codecs).map((name) => `${group}-${name}`), fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ topic, message }) => found.set(topic, [...(found.get(topic) ?? []), content(message)]),
  })
  const expected = records.map((record, at) => content({ ...asRead(record), offset: String(at) }))
  const topics = Object.keys(codecs).map((name) => `${group}-${name}`)
  await eventually('all are read', () => topics.every((topic) => (found.get(topic) ?? []).length >= 500))
  await consumer.disconnect()
  for (const topic of topics) {
    const wrong = expected.findIndex((record, at) => !isDeepStrictEqual(record, found.get(topic)[at]))
    same(`${topic}, at ${wrong}`, expected[wrong], found.get(topic)[wrong])
    same(`${topic}: records`, expected.length, found.get(topic).length)
  }
}

const text = (bytes) => (bytes === null ? null : bytes.toString())

/** A message with text instead of bytes. */
function content({ key, value, headers, timestamp, offset }) {
  const all = Object.entries(headers).map(([name, of]) => [name, [of].flat().map(text)])
  return { key: text(key), value: text(value), headers: all, timestamp, offset }
}

/** A record that was written, as its reader has it: the values of a header that comes again are a list. */
function asRead(record) {
  const headers = {}
  for (const [name, of] of record.headers) {
    headers[name] = [...(headers[name] ?? []), of]
  }
  return { ...record, headers }
}

async function groups(kafka, admin, bootstrap) {
  const run = (name, body) =>
    check(`group-${name}`, async () => {
      await created(admin, name, PARTITIONS.length)
      await body(kafka, admin, name, bootstrap)
    })
  await Promise.all([
    run('alone-and-resumed', aloneAndResumed),
    run('shared', shared),
    run('crashed', crashed),
    run('held-back', heldBack),
    run('committed', committed),
    run('administered', administered),
    run('every-codec', everyCodec),
  ])
}

/** A member that says how much it has read, until its input ends, as it does when the program that started it is gone. */
async function stay(kafka, group) {
  const member = await new Member(kafka, group).start()
  const { END_BATCH_PROCESS } = member.consumer.events
  member.consumer.on(END_BATCH_PROCESS, () => console.log(member.records.length))
  process.stdin.on('end', () => process.exit(0)).resume()
  await new Promise(() => {})
}

module.exports = { groups, stay }
