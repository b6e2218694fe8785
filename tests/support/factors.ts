import { generateSync } from 'otplib'
import type { FactorProof } from '../../protocol/index.ts'
import { Authenticator } from './authenticator.ts'
import type { Caller, Person, Reply, TestServer } from './server.ts'

/** The password of all people in tests. */
const PASSWORD = 'a ferry to Lisbon'

type Server = Pick<TestServer, 'clock' | 'call'>

/** An authenticator app, with the clock of the server. */
export class App {
  readonly secret: string
  private readonly server: Pick<TestServer, 'clock'>

  constructor(server: Pick<TestServer, 'clock'>, secret: string) {
    this.server = server
    this.secret = secret
  }

  /** @param steps later than now, each half a minute */
  code(steps = 0): string {
    const epoch = Math.floor(this.server.clock.now().getTime() / 1000) + steps * 30
    return generateSync({ secret: this.secret, epoch })
  }

  /** Another code than those of now. */
  wrongCode(): string {
    const good = [-2, -1, 0, 1, 2].map((steps) => this.code(steps))
    return ['000000', '111111', '222222', '333333', '444444', '555555'].find(
      (code) => !good.includes(code),
    )!
  }
}

/** Sets up an authenticator app. @returns it, and the recovery codes */
export async function withApp(server: Server, { call }: Pick<Person, 'call'>, factor?: object) {
  const begun = await call('POST', '/api/account/totp/', { password: PASSWORD, ...factor })
  const app = new App(server, begun.body.secret)
  const { ticket } = begun.body
  const done = await call('POST', '/api/account/totp/confirm/', { ticket, code: app.code() })
  if (done.status !== 200) throw new Error(`No authenticator app: ${done.text}`)
  return { app, codes: done.body.recovery_codes as string[] }
}

/** Adds a passkey. */
export async function withPasskey(
  call: Caller,
  {
    name = 'Phone',
    origin = call.url!,
    factor,
  }: { name?: string; origin?: string; factor?: object } = {},
) {
  const passkey = new Authenticator()
  const begun = await call('POST', '/api/account/passkeys/begin/', {
    password: PASSWORD,
    ...factor,
  })
  const body = passkeyFor(passkey, begun, origin, name)
  const done = await call('POST', '/api/account/passkeys/confirm/', body)
  if (done.status !== 200) throw new Error(`No passkey: ${done.text}`)
  passkeys.set(call, passkey)
  return { passkey, codes: done.body.recovery_codes as string[] }
}

/** The last passkey of each caller. */
const passkeys = new WeakMap<Caller, Authenticator>()

/** What a request takes besides the password, from somebody with a passkey. */
async function stepUp(call: Caller) {
  const required = await call('POST', '/api/account/totp/remove/', { password: PASSWORD })
  const { public_key } = required.body.factor
  const answer = passkeys.get(call)!.get(public_key, { origin: call.url! })
  return proofBy(required, { passkey: answer as never })
}

function passkeyFor(passkey: Authenticator, begun: Reply, origin: string, name: string) {
  const { ticket, public_key } = begun.body
  return { ticket, name, passkey: passkey.create(public_key, { origin }) }
}

/** The answer to a `factor_required`. */
export const proofBy = (
  required: Reply,
  proof: Omit<FactorProof, 'ticket'>,
): { factor: FactorProof } => ({ factor: { ticket: required.body.factor.ticket, ...proof } })

/** What a valid request of these operations contains that no example can. */
export const FACTOR_FACTS: Readonly<
  Record<string, (server: Server, person: Pick<Person, 'call' | 'username'>) => Promise<object>>
> = {
  async confirm_totp(server, { call }) {
    const { body } = await call('POST', '/api/account/totp/', { password: PASSWORD })
    return { ticket: body.ticket, code: new App(server, body.secret).code() }
  },
  async confirm_passkey(_, { call }) {
    const begun = await call('POST', '/api/account/passkeys/begin/', { password: PASSWORD })
    return passkeyFor(new Authenticator(), begun, call.url!, 'Phone')
  },
  remove_passkey: (_, { call }) => stepUp(call),
  async renew_recovery_codes(_, { call }) {
    await withPasskey(call)
    return stepUp(call)
  },
  async confirm_factor(server, person) {
    const { codes } = await withApp(server, person)
    const { username } = person
    const required = await server.call('POST', '/api/token/', { username, password: PASSWORD })
    const { ticket } = required.body.factor
    return { ticket, totp: undefined, recovery_code: codes[0] }
  },
}
