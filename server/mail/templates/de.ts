import { listOf } from './list.ts'
import type { FactorChange, Templates } from './template.ts'

const NOT_YOU =
  'Falls du das nicht warst, kennt vielleicht jemand dein Passwort. Wähle ein neues; dabei werden alle anderen Geräte abgemeldet.'

export const de: Templates = {
  confirm_email: ({ url, hours }) => ({
    subject: 'Bestätige deine E-Mail-Adresse',
    paragraphs: [
      'Bitte bestätige, dass dies deine Adresse ist, damit wir dir Erinnerungen senden können.',
    ],
    action: { label: 'Adresse bestätigen', url },
    closing: [
      `Der Link kann einmal benutzt werden, innerhalb von ${hours} Stunden.`,
      'Falls du kein Konto bei Tasktide hast, hat sich jemand vertippt. Du kannst diese Mail ignorieren.',
    ],
  }),
  email_changing: ({ new_email }) => ({
    subject: 'Änderung deiner E-Mail-Adresse angefordert',
    paragraphs: [
      `Für dein Konto wurde eine Änderung der Adresse in ${new_email} angefordert. Sie gilt, sobald diese Adresse bestätigt ist.`,
    ],
    closing: [NOT_YOU],
  }),
  email_changed: ({ new_email }) => ({
    subject: 'Deine E-Mail-Adresse wurde geändert',
    paragraphs: [
      `Dein Konto hat jetzt die Adresse ${new_email}. An diese Adresse senden wir keine Mails mehr.`,
    ],
    closing: [NOT_YOU],
  }),
  reset_password: ({ url, minutes }) => ({
    subject: 'Wähle ein neues Passwort',
    paragraphs: ['Für dein Konto wurde ein neues Passwort angefordert.'],
    action: { label: 'Neues Passwort wählen', url },
    closing: [
      `Der Link kann einmal benutzt werden, innerhalb von ${minutes} Minuten.`,
      'Falls du das nicht warst, kannst du diese Mail ignorieren. Dein Passwort ändert sich nicht.',
    ],
  }),
  password_changed: ({ at, reset_url }, format) => ({
    subject: 'Dein Passwort wurde geändert',
    paragraphs: [
      'Das Passwort deines Kontos wurde geändert. Andere Geräte wurden abgemeldet.',
      format.moment(at),
    ],
    action: { label: 'Das war ich nicht', url: reset_url },
    closing: ['Falls du das warst, kannst du diese Mail ignorieren.'],
  }),
  token_reused: ({ at, reset_url }, format) => ({
    subject: 'Ein Gerät wurde zur Sicherheit abgemeldet',
    paragraphs: [
      'Jemand hat eine alte Kopie der Anmeldung eines deiner Geräte benutzt. Deshalb wurde dieses Gerät abgemeldet. Melde dich dort wieder an; was auf dem Gerät noch nicht gespeichert war, bleibt erhalten.',
      format.moment(at),
    ],
    action: { label: 'Ein neues Passwort wählen', url: reset_url },
    closing: [
      'Falls du ein Gerät aus einer Sicherung wiederhergestellt hast, kommt es daher, und du kannst diese Mail ignorieren. Sonst sieh in deinem Konto nach, was zuletzt geschehen ist, und wähle ein neues Passwort.',
    ],
  }),
  factor_changed: ({ change, left, at, reset_url }, format) => ({
    subject:
      change === 'codes_tried'
        ? 'Jemand wollte sich in deinem Konto anmelden'
        : 'Deine Anmeldung in zwei Schritten: etwas wurde geändert',
    paragraphs: [factorChanges(left)[change], format.moment(at)],
    action: { label: 'Das war ich nicht', url: reset_url },
    closing: ['Falls du das warst, kannst du diese Mail ignorieren.'],
  }),
  account_deleted: () => ({
    subject: 'Dein Konto wurde gelöscht',
    paragraphs: [
      'Du hast dein Konto gelöscht. Aufgaben, Kategorien und Profil werden jetzt gelöscht.',
    ],
    closing: ['Wir senden keine weiteren Mails. Danke, dass du Tasktide benutzt hast.'],
  }),
  account_deactivated: () => ({
    subject: 'Dein Konto wurde deaktiviert',
    paragraphs: [
      'Die Verwaltung hat dein Konto deaktiviert. Du kannst dich nicht anmelden; deine Daten bleiben erhalten.',
    ],
    closing: ['Wende dich an die Verwaltung, falls das ein Irrtum ist.'],
  }),
  unconfirmed_account: ({ url, until }, format) => ({
    subject: 'Bestätige deine Adresse, um dein Konto zu behalten',
    paragraphs: [
      'Die Adresse deines Kontos bei Tasktide wurde nie bestätigt. Bestätige sie bis zu diesem Zeitpunkt, sonst wird das Konto mit allen Daten gelöscht:',
      format.moment(until),
    ],
    action: { label: 'Adresse bestätigen', url },
    closing: [
      'Der Link kann einmal benutzt werden.',
      'Falls du kein Konto bei Tasktide hast, hat sich jemand vertippt. Du kannst diese Mail ignorieren.',
    ],
  }),
  sign_in_after_failures: ({ failures, device, at, reset_url }, format) => ({
    subject: 'Anmeldung nach vielen falschen Passwörtern',
    paragraphs: [
      `Jemand hat sich mit ${device} bei deinem Konto angemeldet, nach ${failures} Versuchen mit falschem Passwort.`,
      format.moment(at),
    ],
    action: { label: 'Das war ich nicht', url: reset_url },
    closing: [
      'Falls du das warst, hat vielleicht jemand anderes versucht, dein Passwort zu erraten; dein Konto ist sicher.',
    ],
  }),
  reminder: (
    { title, description, due, category, isNewAccount, url, unsubscribe_url },
    format,
  ) => ({
    subject: isNewAccount ? 'Erinnerung von Tasktide' : `Erinnerung: ${title}`,
    paragraphs: [
      title,
      ...(due ? [`Fällig: ${format.due(due)}`] : []),
      ...(category ? [`In ${category}`] : []),
      ...(description ? [description] : []),
    ],
    action: { label: 'Tasktide öffnen', url },
    closing: ['Erinnerungen kannst du in den Einstellungen deines Kontos abstellen.'],
    unsubscribe: { label: 'Erinnerungen abstellen', url: unsubscribe_url },
  }),
  digest: ({ day, overdue, today, more, url, unsubscribe_url }, format) => ({
    subject: `Dein Tag: ${format.day(day)}`,
    paragraphs: today.length === 0 ? ['Heute ist nichts fällig.'] : [],
    lists: [
      ...listOf('Heute', today, ({ due }) => due.time ?? ''),
      ...listOf('Überfällig', overdue, ({ due }) => format.due(due)),
    ],
    action: { label: more > 0 ? `Tasktide öffnen: ${more} weitere` : 'Tasktide öffnen', url },
    closing: ['Die tägliche Übersicht kannst du in den Einstellungen deines Kontos abstellen.'],
    unsubscribe: { label: 'Tägliche Übersicht abstellen', url: unsubscribe_url },
  }),
}

const factorChanges = (left = 0): Record<FactorChange, string> => ({
  totp_added: 'Deinem Konto wurde eine Authenticator-App hinzugefügt.',
  totp_removed: 'Die Authenticator-App wurde aus deinem Konto entfernt.',
  passkey_added: 'Deinem Konto wurde ein Passkey hinzugefügt.',
  passkey_removed: 'Ein Passkey wurde aus deinem Konto entfernt.',
  recovery_codes_renewed:
    'Dein Konto hat neue Wiederherstellungscodes. Die bisherigen gelten nicht mehr.',
  recovery_code_used: `Ein Wiederherstellungscode deines Kontos wurde benutzt. Du hast noch ${left}.`,
  factors_removed:
    'Die Verwaltung des Servers hat alle zweiten Faktoren deines Kontos entfernt. Das Passwort allein genügt jetzt.',
  codes_tried:
    'Jemand, der das Passwort deines Kontos kennt, hat mehrere Codes einer Authenticator-App ausprobiert. Alle waren falsch. Wähle ein neues Passwort, dann kennt es niemand sonst mehr.',
})
