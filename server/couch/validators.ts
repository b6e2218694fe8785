import type { Landing } from './database.ts'
import { leavesOf } from './paths.ts'

/** Why a document is refused. */
interface Objection {
  readonly error: 'forbidden' | 'unauthorized'
  readonly reason: string
}

interface Rule extends Objection {
  readonly field: string
  /** A text or undefined to compare with; without it, any value that is not empty. */
  readonly equals?: { readonly value: string | undefined }
}

/**
 * The validators of design documents (`validate_doc_update`) in test databases, as far as they are sequences of
 * `if (newDoc.field === 'text') throw {forbidden: 'reason'}`. They are read and never run: nobody gets to
 * execute code on the server, not even in test mode.
 */
export function createValidators() {
  const rulesByDesign = new Map<string, readonly Rule[]>()

  return {
    /** Learns from a document if it is one of a design. */
    learn({ id, revisions }: Pick<Landing, 'id' | 'revisions'>): void {
      if (!id.startsWith('_design/')) return
      const [winner] = leavesOf(revisions)
      const source = winner!.deleted ? undefined : read(winner!.body).validate_doc_update
      rulesByDesign.set(id, typeof source === 'string' ? rulesIn(source) : [])
    },

    objectionTo({ id, incoming }: Pick<Landing, 'id' | 'incoming'>): Objection | undefined {
      if (id.startsWith('_design/')) return undefined
      const documents = incoming.map(({ body }) => read(body))
      const rules = [...rulesByDesign.values()].flat()
      return rules.find((rule) => documents.some((one) => objects(rule, one[rule.field])))
    },
  }
}

export type Validators = ReturnType<typeof createValidators>

const objects = ({ equals }: Rule, value: unknown) =>
  equals ? value === equals.value : Boolean(value)

const read = (body: string | null): Record<string, unknown> => JSON.parse(body ?? '{}')

const RULE =
  /if \(newDoc\.(\w+)(?: === (undefined|'[^']*'))?\) \{\s*throw \{ ?(forbidden|unauthorized): ('[^']*'|\{[^{}]*\}) ?\}/g

function rulesIn(source: string): Rule[] {
  return [...source.matchAll(RULE)].map(([, field, compared, error, reason]) => ({
    field: field!,
    ...(compared !== undefined && {
      equals: { value: compared === 'undefined' ? undefined : compared.slice(1, -1) },
    }),
    error: error as Rule['error'],
    reason: reason!.replaceAll(/^'|'$/g, ''),
  }))
}
