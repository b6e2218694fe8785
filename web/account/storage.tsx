import type { StorageUsage } from '@tasktide/client'
import { Section } from './page.tsx'

/** How much of the account is used. Nothing where there are no limits. */
export function AccountStorage({ usage }: { usage: StorageUsage | undefined }) {
  if (!usage) return null
  const { documents, max_documents, bytes, max_bytes } = usage
  if (max_documents === null && max_bytes === null) return null
  return (
    <Section title="Storage" hint="The trash and lost edits take up space, too.">
      {max_documents !== null && (
        <Used label="Tasks and categories" used={documents} most={max_documents} />
      )}
      {max_bytes !== null && (
        <Used label="Megabytes" used={inMegabytes(bytes)} most={inMegabytes(max_bytes)} />
      )}
    </Section>
  )
}

function Used({ label, used, most }: { label: string; used: number; most: number }) {
  return (
    <p>
      {label}: {used.toLocaleString('en')} of {most.toLocaleString('en')}
    </p>
  )
}

const inMegabytes = (bytes: number) => Math.ceil((bytes / 1024 / 1024) * 10) / 10
