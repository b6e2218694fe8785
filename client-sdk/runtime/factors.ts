/** How a sign-in or a change of the account can be confirmed: `factor` of a `factor_required` error. */
export interface FactorChallenge {
  /** Good for 5 minutes, once. */
  ticket: string
  methods: ('passkey' | 'totp' | 'recovery_code')[]
  /** For `navigator.credentials.get`, as JSON, if the account has a passkey. */
  public_key?: PublicKeyOptions | undefined
}

/** As JSON, as `PublicKeyCredential.parse…OptionsFromJSON` takes it. */
export interface PublicKeyOptions {
  challenge: string
  [name: string]: unknown
}

/** The answer to a challenge, with one of its methods. */
export interface FactorProof {
  ticket: string
  totp?: string
  recovery_code?: string
  /** `PublicKeyCredential.toJSON()` */
  passkey?: object
}

/** What the owner of an account proves to be besides a signed-in session. */
export interface OwnerProof {
  password: string
  /** If the account has a second factor: without it, the request fails with `factor_required`. */
  factor?: FactorProof | undefined
}

export interface Factors {
  /** Since when an authenticator app is set up. */
  totp_since: string | null
  passkeys: number
  /** How many recovery codes are left. */
  recovery_codes: number
  /** Whether the role of the account requires a factor. */
  required: boolean
}

export interface Passkey {
  id: string
  name: string
  created_at: string
  last_used_at: string | null
  /** Whether it is on all devices of its owner, not on one only. */
  is_synced: boolean
}

/** A factor that is being set up. */
export interface NewTotp {
  ticket: string
  /** In base32, for typing it in. */
  secret: string
  /** For a QR code. */
  uri: string
}

export interface NewPasskey {
  ticket: string
  /** For `navigator.credentials.create`, as JSON. */
  public_key: PublicKeyOptions
}
