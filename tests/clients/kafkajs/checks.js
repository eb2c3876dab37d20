// How a check is reported: one line for each, `ok NAME` or `FAILED NAME: what was expected, what came`.
'use strict'

const { isDeepStrictEqual, inspect } = require('node:util')

const shortened = (value) => inspect(value, { breakLength: Infinity, depth: 4 }).slice(0, 400)

let failed = false

/** Runs one check; whatever a client throws is a failed one. */
async function check(name, action) {
  try {
    await action()
    console.log(`ok ${name}`)
  } catch (error) {
    failed = true
    console.log(`FAILED ${name}: ${String(error.message).replaceAll('\n', ' ')}`)
    console.error(error)
  }
}

/** Fails with both where they differ. */
function same(what, expected, came) {
  if (!isDeepStrictEqual(expected, came)) {
    throw new Error(`${what}: expected ${shortened(expected)}, came ${shortened(came)}`)
  }
}

/** Fails where `action` is not refused with an error of this type, as Kafka names it. */
async function refused(what, type, action) {
  let came
  try {
    came = await action()
  } catch (error) {
    // One request may name several topics; kafkajs then throws an error that holds one for each.
    const types = (error.errors ?? [error]).map((each) => each.type ?? each.cause?.type ?? each.message)
    return same(what, [type], types)
  }
  throw new Error(`${what}: expected ${type}, came ${shortened(came)}`)
}

const exitCode = () => (failed ? 1 : 0)

module.exports = { check, same, refused, exitCode }
