// kafkajs against a node. Usage: node main.js HOST:PORT RECORDS.json, or for consumer groups instead
// node main.js HOST:PORT groups
'use strict'

const { readFileSync } = require('node:fs')
const { Kafka, logLevel } = require('kafkajs')

const { exitCode } = require('./checks')
const { produce } = require('./produce')
const { administer } = require('./administer')
const { groups, stay } = require('./group')

async function main([bootstrap, what, group]) {
  // An error that would be tried again is given up early enough to be looked at.
  const retry = { initialRetryTime: 20, retries: 4 }
  const kafka = new Kafka({ clientId: 'checks', brokers: [bootstrap], logLevel: logLevel.NOTHING, retry })
  if (what === 'member') return stay(kafka, group)
  const admin = kafka.admin()
  await admin.connect()
  if (what === 'groups') {
    await groups(kafka, admin, bootstrap)
  } else {
    await produce(kafka, admin, JSON.parse(readFileSync(what, 'utf8')))
    await administer(kafka, admin, Number(bootstrap.split(':').pop()))
  }
  await admin.disconnect()
}

main(process.argv.slice(2)).then(
  () => process.exit(exitCode()),
  (error) => {
    console.log(`FAILED main: ${error.message}`)
    process.exit(1)
  },
)
