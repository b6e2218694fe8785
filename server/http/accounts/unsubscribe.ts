import * as z from 'zod'
import { UNSUBSCRIBE_PATH } from '../../reminders/unsubscribing.ts'
import { type Operation, operation, type Parameter } from '../operation.ts'

interface Dependencies {
  /** @throws Problem `link_not_valid` */
  unsubscribe: (token: string) => Promise<void>
  publicUrl: string | undefined
}

const TOKEN: Parameter = {
  name: 'token',
  description: 'The token from the link in the mail.',
  schema: z.string().max(200),
}

/** The target of the header `List-Unsubscribe` (RFC 8058). */
export function unsubscribeOperations({ unsubscribe, publicUrl = '' }: Dependencies): Operation[] {
  const shared = { tag: 'account', path: UNSUBSCRIBE_PATH } as const
  return [
    operation({
      ...shared,
      id: 'unsubscribe',
      method: 'post',
      access: 'limited',
      limit: 'refusals',
      summary: 'Stop reminders or digests',
      description:
        'For mail programs, with the token from the header `List-Unsubscribe` of the mail, without signing in. The body is ignored.',
      query: [TOKEN],
      answers: { 204: { description: 'No more mail of this kind is sent.' } },
      problems: ['invalid', 'link_not_valid'],
      async handle({ query }) {
        await unsubscribe(String(query.token ?? ''))
        return { status: 204 }
      },
    }),
    operation({
      ...shared,
      id: 'show_unsubscribe_page',
      method: 'get',
      access: 'open',
      summary: 'Ask whether to stop reminders or digests',
      description:
        'For people whose mail program opens the link: redirects to a page that asks first.',
      query: [TOKEN],
      answers: { 303: { description: 'The page.', headers: ['Location'] } },
      problems: ['invalid'],
      async handle({ query }) {
        const token = encodeURIComponent(String(query.token ?? ''))
        return { status: 303, headers: { Location: `${publicUrl}/#unsubscribe=${token}` } }
      },
    }),
  ]
}
