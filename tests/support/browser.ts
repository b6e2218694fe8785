import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { access, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Browser, chromium } from 'playwright-core'

/** Not the arguments of the bundled Chromium, which disable security features. */
const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-background-networking',
]

const INSTALLED = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/opt/google/chrome/chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
]

const MISSING = `No Chromium for the tests in a browser: install Chrome or Chromium, or name one in
CHROME_PATH. (On linux-x64 the devDependencies contain one; TASKTIDE_CHROMIUM=bundled selects it.)`

/**
 * Opens a Chromium: the one in CHROME_PATH, an installed one, or the bundled one, which
 * TASKTIDE_CHROMIUM=bundled selects always. Without any, warns and returns undefined; in CI throws.
 */
export async function openBrowser(): Promise<Browser | undefined> {
  const found = await findChromium()
  if (found) return chromium.launch({ ...found, args: ARGUMENTS })
  if (process.env.CI) throw new Error(MISSING)
  console.warn(`\n*** ${MISSING}\n`)
  return undefined
}

interface Chromium {
  executablePath: string
  env?: Record<string, string | undefined>
}

async function findChromium(): Promise<Chromium | undefined> {
  const { CHROME_PATH, TASKTIDE_CHROMIUM } = process.env
  if (TASKTIDE_CHROMIUM !== 'bundled') {
    const executablePath = CHROME_PATH || INSTALLED.find(isExecutable)
    if (executablePath) return { executablePath }
  }
  const fits = process.platform === 'linux' && process.arch === 'x64'
  return fits ? bundledChromium() : undefined
}

/**
 * The Chromium of `@sparticuz/chromium` and its libraries, unpacked once. It is unpacked elsewhere and then
 * renamed, because the package accepts a partial file of another or an interrupted process as complete.
 */
async function bundledChromium(): Promise<Chromium> {
  const { version } = createRequire(import.meta.url)(
    path.join(MODULES, '@sparticuz/chromium/package.json'),
  ) as { version: string }
  const cache = path.join(MODULES, '.cache')
  const place = path.join(cache, `chromium-${version}`)
  if (!(await exists(place))) {
    await mkdir(cache, { recursive: true })
    const draft = await mkdtemp(`${place}.`)
    await unpackInto(draft)
    await writeFile(path.join(draft, FONTS), fontsAt(path.join(place, 'fonts')))
    await rename(draft, place).catch(async (error) => {
      await rm(draft, { recursive: true })
      // Another process was faster.
      if (!(await exists(place))) throw error
    })
  }
  return {
    executablePath: path.join(place, 'chromium'),
    env: {
      ...process.env,
      LD_LIBRARY_PATH: path.join(place, 'al2023/lib'),
      FONTCONFIG_FILE: path.join(place, FONTS),
    },
  }
}

const MODULES = fileURLToPath(new URL('../../node_modules', import.meta.url))

const FONTS = 'fonts.conf'

/** The package's own file names another directory, and without a font no text is rendered. */
const fontsAt = (folder: string) => `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <dir>${folder}</dir>
  <cachedir>${folder}-cache</cachedir>
</fontconfig>
`

/** Runs in its own process: the package reads the directories from the environment when it is imported. */
async function unpackInto(folder: string): Promise<void> {
  const script = `await (await import('@sparticuz/chromium')).default.executablePath()`
  const env = {
    ...process.env,
    TMPDIR: folder,
    // The package unpacks its libraries only on AWS Lambda.
    AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs20.x',
  }
  const run = promisify(execFile)
  await run(process.execPath, ['--input-type=module', '-e', script], { cwd: MODULES, env })
}

const exists = (file: string) =>
  access(file).then(
    () => true,
    () => false,
  )

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
