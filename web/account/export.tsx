import { useClient } from '../documents/client-context.ts'
import { Fault } from '../forms/fault.tsx'
import { useRequest } from '../forms/request.ts'
import { Section } from './page.tsx'

const FORMATS = [
  ['json', 'tasktide.json', 'Everything (JSON)'],
  ['csv', 'tasks.csv', 'Tasks (CSV)'],
  ['ics', 'tasks.ics', 'Tasks (iCalendar)'],
] as const

const PATIENCE_MS = 5_000

/** Downloads all data of the user. */
export function AccountExport() {
  const { account, sync } = useClient()
  const { isBusy, fault, run } = useRequest()

  async function download(format: (typeof FORMATS)[number][0], name: string) {
    // The export should include unsent edits of this device.
    await sync.awaitInSync({ timeout: PATIENCE_MS })
    const link = document.createElement('a')
    link.href = URL.createObjectURL(await (await account.export(format)).blob())
    link.download = name
    link.click()
    // By then the browser has started the download.
    setTimeout(() => URL.revokeObjectURL(link.href), PATIENCE_MS)
  }

  return (
    <Section title="Export" hint="Download your data. JSON and CSV include the trash.">
      <div class="choices">
        {FORMATS.map(([format, name, label]) => (
          <button
            key={format}
            type="button"
            disabled={isBusy}
            onClick={() => run(() => download(format, name))}
          >
            {label}
          </button>
        ))}
      </div>
      <Fault text={fault} />
    </Section>
  )
}
