// kafkajs against a node. Usage: node main.js HOST:PORT RECORDS.json
'use strict'

const { readFileSync } = require('node:fs')
const { Kafka, logLevel } = require('kafkajs')

const { exitCode } = require('./checks')
const { produce } = require('./produce')
const { administer } = require('./administer')

async function main([bootstrap, records]) {
  // An error that would be tried again is given up early enough to be looked at.
  const retry = { initialRetryTime: 20, retries: 4 }
  const kafka = new Kafka({ clientId: 'checks', brokers: [bootstrap], logLevel: logLevel.NOTHING, retry })
  const admin = kafka.admin()
  await admin.connect()
  await produce(kafka, admin, JSON.parse(readFileSync(records, 'utf8')))
  await administer(kafka, admin, Number(bootstrap.split(':').pop()))
  await admin.disconnect()
}

main(process.argv.slice(2)).then(
  () => process.exit(exitCode()),
  (error) => {
    console.log(`FAILED main: ${error.message}`)
    process.exit(1)
  },
)
