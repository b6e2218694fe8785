import * as z from 'zod'
import { Problem } from '../../../protocol/index.ts'
import { type Operation, operation } from '../operation.ts'

const DAY_MS = 24 * 60 * 60 * 1000
/** Readers take an expired file for abandoned, and one of more than a year for wrong. */
const VALID_DAYS = 180

interface SecurityTxt {
  contact: string | undefined
  publicUrl: string | undefined
  now: () => Date
}

/** Where to report vulnerabilities (RFC 9116). */
export function securityTxtOperation({ contact, publicUrl, now }: SecurityTxt): Operation {
  const path = '/.well-known/security.txt'
  return operation({
    id: 'get_security_txt',
    tag: 'about',
    method: 'get',
    access: 'open',
    path,
    summary: 'Get the contact for vulnerabilities',
    description: 'The security.txt of RFC 9116; 404 if the operator has set no contact.',
    answers: {
      200: {
        description: 'The file.',
        name: 'SecurityTxt',
        schema: z.string(),
        example: 'Contact: mailto:security@example.com\nExpires: 2027-01-01T00:00:00.000Z\n',
        mediaTypes: ['text/plain'],
      },
    },
    problems: ['not_found'],
    async handle() {
      if (!contact)
        throw new Problem(
          'not_found',
          'This server has no SECURITY_CONTACT; write to its operator.',
        )
      const expires = new Date(now().setUTCHours(0, 0, 0, 0) + VALID_DAYS * DAY_MS)
      const canonical = publicUrl ? `Canonical: ${publicUrl}${path}\n` : ''
      return {
        status: 200,
        headers: { 'Content-Type': 'text/plain; charset=utf-8' },
        body: `Contact: ${contact}\nExpires: ${expires.toISOString()}\n${canonical}`,
      }
    },
  })
}
