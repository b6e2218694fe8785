import type { Letters } from './letter.ts'
import { listOf } from './list.ts'

const NOT_YOU =
  'Falls du das nicht warst, kennt vielleicht jemand dein Passwort: Wähle ein neues, dann werden alle Geräte abgemeldet.'

export const de: Letters = {
  confirm_email: ({ url, hours }) => ({
    subject: 'Bestätige deine E-Mail-Adresse',
    paragraphs: [
      'Bitte bestätige, dass diese Adresse dir gehört, damit Erinnerungen dich erreichen.',
    ],
    action: { label: 'Adresse bestätigen', url },
    closing: [
      `Der Link gilt einmal, ${hours} Stunden lang.`,
      'Falls du kein Konto bei Tasktide hast, hat sich jemand vertippt: Du brauchst nichts zu tun.',
    ],
  }),
  email_changing: ({ new_email }) => ({
    subject: 'Deine E-Mail-Adresse soll geändert werden',
    paragraphs: [
      `Jemand, der bei deinem Konto angemeldet ist, möchte dessen Adresse in ${new_email} ändern. Das geschieht, sobald jene Adresse bestätigt ist.`,
    ],
    closing: [NOT_YOU],
  }),
  email_changed: ({ new_email }) => ({
    subject: 'Deine E-Mail-Adresse wurde geändert',
    paragraphs: [
      `Dein Konto hat jetzt die Adresse ${new_email}. Dies ist die letzte Nachricht hierher.`,
    ],
    closing: [NOT_YOU],
  }),
  reset_password: ({ url, minutes }) => ({
    subject: 'Wähle ein neues Passwort',
    paragraphs: ['Jemand, vermutlich du, möchte für dein Konto ein neues Passwort.'],
    action: { label: 'Neues Passwort wählen', url },
    closing: [
      `Der Link gilt einmal, ${minutes} Minuten lang.`,
      'Falls du das nicht warst, brauchst du nichts zu tun: Dein Passwort bleibt, wie es ist.',
    ],
  }),
  password_changed: ({ at, reset_url }, format) => ({
    subject: 'Dein Passwort wurde geändert',
    paragraphs: [
      'Das Passwort deines Kontos wurde geändert; andere Geräte wurden abgemeldet.',
      format.moment(at),
    ],
    action: { label: 'Das war ich nicht', url: reset_url },
    closing: ['Falls du es warst, brauchst du nichts zu tun.'],
  }),
  account_deleted: () => ({
    subject: 'Dein Konto wurde gelöscht',
    paragraphs: [
      'Wie gewünscht ist dein Konto geschlossen. Aufgaben, Kategorien und Profil werden gelöscht.',
    ],
    closing: ['Dies ist unsere letzte Nachricht. Alles Gute, und danke.'],
  }),
  account_deactivated: () => ({
    subject: 'Dein Konto wurde deaktiviert',
    paragraphs: [
      'Die Verwaltung hat dein Konto deaktiviert. Nichts darin ist verloren, aber niemand kann sich anmelden.',
    ],
    closing: ['Frage bei der Verwaltung nach, falls das ein Irrtum ist.'],
  }),
  reminder: ({ title, description, due, category, url }, format) => ({
    subject: `Erinnerung: ${title}`,
    paragraphs: [
      title,
      ...(due ? [`Fällig: ${format.due(due)}`] : []),
      ...(category ? [`In ${category}`] : []),
      ...(description ? [description] : []),
    ],
    action: { label: 'Tasktide öffnen', url },
    closing: ['Du bekommst dies, weil du erinnert werden wolltest. Abstellen: Einstellungen.'],
  }),
  digest: ({ day, overdue, today, more, url }, format) => ({
    subject: `Dein Tag: ${format.day(day)}`,
    paragraphs: today.length === 0 ? ['Heute ist nichts fällig.'] : [],
    lists: [
      ...listOf('Heute', today, ({ due }) => due.time ?? ''),
      ...listOf('Überfällig', overdue, ({ due }) => format.due(due)),
    ],
    action: { label: more > 0 ? `Tasktide öffnen: ${more} weitere` : 'Tasktide öffnen', url },
    closing: ['Du bekommst dies täglich, weil du es wolltest. Abstellen: Einstellungen.'],
  }),
}
