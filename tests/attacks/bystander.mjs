import { Agent, get } from 'node:http'
import { parentPort, workerData } from 'node:worker_threads'

const EVERY_MS = 20
const { url, access } = workerData
const agent = new Agent({ keepAlive: true })
const answers = []
let asked = 0

/** @returns {Promise<{ status: number, ms: number }>} 0 as status when the connection failed */
function list() {
  const began = performance.now()
  return new Promise((resolve) => {
    const answer = (status) => resolve({ status, ms: performance.now() - began })
    get(url, { agent, headers: { authorization: `Bearer ${access}` } }, (response) => {
      response.resume()
      response.on('end', () => answer(response.statusCode))
      response.on('error', () => answer(0))
    }).on('error', () => answer(0))
  })
}

// The first list of a node compiles and connects.
await list()
parentPort.postMessage([])
// By the clock and not after the last answer: a slow answer must not hide the ones that would have waited behind it.
const timer = setInterval(() => {
  asked++
  void list().then((answer) => answers.push(answer))
}, EVERY_MS)

parentPort.on('message', async ({ least }) => {
  while (asked < least) await new Promise((resolve) => setTimeout(resolve, EVERY_MS))
  clearInterval(timer)
  while (answers.length < asked) await new Promise((resolve) => setTimeout(resolve, EVERY_MS))
  agent.destroy()
  parentPort.postMessage(answers)
  parentPort.close()
})
