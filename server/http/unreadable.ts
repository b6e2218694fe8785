import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { Problem } from '../../protocol/index.ts'
import { limitReading } from './lingering.ts'
import type { Answer } from './operation.ts'
import { headersOf } from './problems.ts'

/** Connections that have their answer: what still arrives there is discarded. */
const answered = new WeakSet<Duplex>()

/** Answers what Node could not read as a request at all, in the form of every other refusal. */
export function answerUnreadable(error: NodeJS.ErrnoException, socket: Duplex): void {
  const isAnswered = answered.has(socket)
  if (error.code === 'ECONNRESET' || socket.readableEnded || !(socket.writable || isAnswered)) {
    socket.destroy()
    return
  }
  if (isAnswered) return
  answered.add(socket)
  limitReading(socket as Socket)
  const problem = problemOf(error.code)
  const body = JSON.stringify(problem.body())
  socket.end(
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\n` +
      `Content-Type: application/problem+json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
      `Connection: close\r\n\r\n${body}`,
  )
}

/** For a request that is HTTP, but whose target cannot be read as a path. */
export const unreadableTarget = () =>
  answer(
    new Problem('malformed', 'The request target is not a path; send one such as /api/tasks/.'),
  )

/** For a connection that sends request after request without waiting for answers. */
export const tooManyAtOnce = () =>
  answer(
    new Problem(
      'too_many_requests',
      'Too many requests on one connection; wait for responses before sending more.',
      {
        retryAfter: 1,
      },
    ),
  )

function answer(problem: Problem): Answer {
  return {
    status: problem.status,
    headers: headersOf(problem),
    body: problem.body(),
  }
}

function problemOf(code: string | undefined): Problem {
  if (code === 'HPE_HEADER_OVERFLOW')
    return new Problem('headers_too_large', 'The headers exceed 16 kB; send fewer.')
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
    return new Problem('timed_out', 'The request did not arrive in time; send it again.')
  return new Problem('malformed', 'This is not a valid HTTP request.')
}
