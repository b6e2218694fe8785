import type { PreparedQuery, RxCollection, RxQuery } from 'rxdb'
import { compareCodePoints } from '../../protocol/canonical.ts'
import type { Definition } from './resources.ts'

type Values = Readonly<Record<string, unknown>>
type Sort = readonly Readonly<Record<string, 'asc' | 'desc'>>[]
type Compare = (a: Values, b: Values) => number

/**
 * Sorts queries like the lists of the server: choices by meaning, text by the rules of Unicode, and null last
 * in both directions. RxDB compares code units, and has null first.
 */
export function sortLikeServer(collection: RxCollection, resource: Definition): void {
  const view = sortedView(collection, resource)
  for (const name of ['find', 'findOne'] as const) {
    const find = collection[name].bind(collection) as (query?: unknown) => RxQuery
    Object.assign(collection, {
      [name](query?: { sort?: Sort }) {
        const found = find(query)
        const fields = found.mangoQuery.sort?.flatMap(Object.keys) ?? []
        if (fields.some((field) => isSpecial(resource, field)))
          Object.assign(found, { collection: view, isFindOneByIdQuery: false })
        return found
      },
    })
  }
}

/** The collection for queries that RxDB would sort in another way. They are read again after each change. */
function sortedView(collection: RxCollection, resource: Definition): RxCollection {
  const { database, storageInstance } = collection
  return Object.create(collection, {
    // RxDB would put a changed document into the result in its own order.
    database: { value: Object.create(database, { eventReduce: { value: false } }) },
    storageInstance: {
      value: Object.create(storageInstance, {
        query: {
          async value({ query, queryPlan }: PreparedQuery<Values>) {
            const { skip, limit = Number.POSITIVE_INFINITY, ...all } = query
            const { documents } = await storageInstance.query({
              query: { ...all, skip: 0 },
              queryPlan,
            } as never)
            documents.sort(comparing(resource, query.sort as Sort))
            return { documents: documents.slice(skip, skip + limit) }
          },
        },
      }),
    },
  })
}

function isSpecial({ fields }: Definition, name: string): boolean {
  const { kind, nullable } = fields[name] ?? {}
  return kind === 'text' || kind === 'choice' || nullable === true
}

function comparing({ fields }: Definition, sort: Sort): Compare {
  const comparisons = sort.flatMap(Object.entries).map(([name, direction]): Compare => {
    const { kind, values = [] } = fields[name] ?? {}
    const sign = direction === 'desc' ? -1 : 1
    return ({ [name]: a }, { [name]: b }) => {
      if (a === b) return 0
      if (a === null) return 1
      if (b === null) return -1
      if (kind === 'text') return sign * compareText(a as string, b as string)
      if (kind === 'choice')
        return sign * (values.indexOf(a as string) - values.indexOf(b as string))
      return sign * ((a as string) < (b as string) ? -1 : 1)
    }
  })
  return (a, b) => {
    for (const compare of comparisons) {
      const order = compare(a, b)
      if (order !== 0) return order
    }
    return 0
  }
}

let collator: Intl.Collator | undefined

/** English has the order of Unicode's root collation, which is the server's. */
function compareText(a: string, b: string): number {
  collator ??= new Intl.Collator('en')
  return collator.compare(a, b) || compareCodePoints(a, b)
}
