// Administers topics, and asks for offsets.
'use strict'

const { ConfigResourceTypes } = require('kafkajs')

const { check, refused, same } = require('./checks')
const { withProducer, written } = require('./produce')

const record = (at) => ({ key: null, value: `${at}`, headers: [], timestamp: `${at}` })

const retention = (value) => [{ name: 'retention.ms', value }]

async function partitions(admin, topic) {
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
  return topics[0].partitions.map((partition) => partition.partitionId).sort((a, b) => a - b)
}

async function retentionOf(admin, topic) {
  const resources = [{ type: ConfigResourceTypes.TOPIC, name: topic, configNames: ['retention.ms'] }]
  const described = await admin.describeConfigs({ includeSynonyms: false, resources })
  return described.resources[0].configEntries.map((entry) => [entry.configName, entry.configValue])
}

const altered = (admin, name, configEntries) =>
  admin.alterConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name, configEntries }] })

async function creation(admin) {
  const managed = { topic: 'managed', numPartitions: 2, replicationFactor: 1, configEntries: retention('5000') }
  // By itself kafkajs would wait for the leaders of a topic that was only looked at.
  const onlyLooked = { topics: [managed], validateOnly: true, waitForLeaders: false }
  same('whether it would be created', true, await admin.createTopics(onlyLooked))
  same('whether it is listed before', false, (await admin.listTopics()).includes('managed'))
  same('whether it is created', true, await admin.createTopics({ topics: [managed] }))
  // kafkajs tells this error by its answer.
  same('whether it is created again', false, await admin.createTopics({ topics: [managed] }))
  same('whether it is listed', true, (await admin.listTopics()).includes('managed'))
  same('its partitions', [0, 1], await partitions(admin, 'managed'))
  const odd = { topic: 'odd', numPartitions: 1, configEntries: [{ name: 'no.such.config', value: '1' }] }
  await refused('a config that is unknown', 'INVALID_CONFIG', () => admin.createTopics({ topics: [odd] }))
  await refused('a topic that is unknown', 'UNKNOWN_TOPIC_OR_PARTITION', () => partitions(admin, 'absent'))
}

async function morePartitions(admin) {
  const grown = (topic, count) => admin.createPartitions({ topicPartitions: [{ topic, count }] })
  await grown('managed', 3)
  same('its partitions', [0, 1, 2], await partitions(admin, 'managed'))
  await refused('fewer partitions', 'INVALID_PARTITIONS', () => grown('managed', 1))
  await refused('a topic that is unknown', 'UNKNOWN_TOPIC_OR_PARTITION', () => grown('absent', 3))
}

async function configs(admin) {
  same('as created', [['retention.ms', '5000']], await retentionOf(admin, 'managed'))
  await altered(admin, 'managed', retention('6000'))
  same('as altered', [['retention.ms', '6000']], await retentionOf(admin, 'managed'))
  const unknown = [{ name: 'no.such.config', value: '1' }]
  await refused('a config that is unknown', 'INVALID_CONFIG', () => altered(admin, 'managed', unknown))
  same('as refused', [['retention.ms', '6000']], await retentionOf(admin, 'managed'))
}

async function offsets(kafka, admin) {
  const ofFirst = (all) => all.filter(({ partition }) => partition === 0)
  const byTime = async (time) => ofFirst(await admin.fetchTopicOffsetsByTimestamp('offsets', time))
  await admin.createTopics({ topics: [{ topic: 'offsets', numPartitions: 2, configEntries: retention('-1') }] })
  const records = [10, 20, 30, 40, 50].map(record)
  await withProducer(kafka, {}, (producer) => written(producer, 'offsets', records))
  same('of a time', [{ partition: 0, offset: '2' }], await byTime(21))
  same('of a time that is to come', [{ partition: 0, offset: '5' }], await byTime(51))
  const bounds = async () => {
    const [{ low, high }] = ofFirst(await admin.fetchTopicOffsets('offsets'))
    return [low, high]
  }
  same('first and end', ['0', '5'], await bounds())
  await admin.deleteTopicRecords({ topic: 'offsets', partitions: [{ partition: 0, offset: '3' }] })
  same('first and end after a deletion', ['3', '5'], await bounds())
  same('of a time that is deleted', [{ partition: 0, offset: '3' }], await byTime(10))
}

async function deletion(admin) {
  await admin.deleteTopics({ topics: ['managed'] })
  same('whether it is listed', false, (await admin.listTopics()).includes('managed'))
  const again = () => admin.deleteTopics({ topics: ['managed'] })
  await refused('a topic that is unknown', 'UNKNOWN_TOPIC_OR_PARTITION', again)
}

async function cluster(admin, port) {
  const { brokers, controller, clusterId } = await admin.describeCluster()
  same('brokers', [[controller, port]], brokers.map((broker) => [broker.nodeId, broker.port]))
  same('whether the cluster has an id', true, clusterId.length > 0)
}

async function administer(kafka, admin, port) {
  await check('cluster', () => cluster(admin, port))
  await check('creation', () => creation(admin))
  await check('more-partitions', () => morePartitions(admin))
  await check('configs', () => configs(admin))
  await check('offsets', () => offsets(kafka, admin))
  await check('deletion', () => deletion(admin))
}

module.exports = { administer }
