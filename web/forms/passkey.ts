import { ClientError, type PublicKeyOptions } from '@tasktide/client'

/** Answers a challenge with a passkey of this device. @throws ClientError if the browser gives none */
export function passkeyFor(options: PublicKeyOptions): Promise<object> {
  return fromBrowser('No passkey was used. Try again, or use another way.', () =>
    navigator.credentials.get({
      publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options as never),
    }),
  )
}

/** Creates a passkey on this device. @throws ClientError if the browser makes none */
export function newPasskey(options: PublicKeyOptions): Promise<object> {
  return fromBrowser('No passkey was added. Try again on a device with a screen lock.', () =>
    navigator.credentials.create({
      publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options as never),
    }),
  )
}

async function fromBrowser(fault: string, ask: () => Promise<Credential | null>): Promise<object> {
  try {
    return ((await ask()) as PublicKeyCredential).toJSON()
  } catch (cause) {
    // The user has cancelled, or the browser has no passkeys.
    throw new ClientError('passkey_not_used', fault, { cause })
  }
}
