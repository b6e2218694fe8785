import type { Knex } from 'knex'
import * as accountsAndFeeds from './0001_accounts_and_feeds.ts'
import * as documents from './0002_documents.ts'
import * as conflicts from './0003_conflicts.ts'
import * as takenEdits from './0004_taken_edits.ts'
import * as mail from './0005_mail.ts'
import * as accountLife from './0006_account_life.ts'
import * as reminders from './0007_reminders.ts'
import * as audit from './0008_audit.ts'
import * as deletedAccounts from './0009_deleted_accounts.ts'
import * as fairReminders from './0010_fair_reminders.ts'
import * as mailAllowance from './0011_mail_allowance.ts'
import * as refusedRows from './0012_refused_rows_and_changed_fields.ts'
import * as references from './0013_references.ts'
import * as epochs from './0014_epochs.ts'
import * as timelines from './0015_timelines.ts'
import * as horizons from './0016_horizons.ts'
import * as keysByUser from './0017_keys_by_user.ts'
import * as feedPositions from './0018_feed_positions.ts'
import * as quickReminderPlans from './0019_quick_reminder_plans.ts'
import * as journalByDocument from './0020_journal_by_document.ts'
import * as accountEvents from './0021_account_events.ts'
import * as renewals from './0022_renewals.ts'
import * as factors from './0023_factors.ts'
import * as noAddress from './0024_no_address.ts'
import * as quota from './0025_quota.ts'
import * as unconfirmedAccounts from './0026_unconfirmed_accounts.ts'
import * as lookupsById from './0027_lookups_by_id.ts'
import * as lightWrites from './0028_light_writes.ts'
import * as personalTokens from './0029_personal_tokens.ts'
import * as idempotencyKeys from './0030_idempotency_keys.ts'
import * as sortIndexes from './0031_sort_indexes.ts'
import * as revisions from './0032_revisions.ts'
import * as search from './0033_search.ts'
import * as searchBits from './0034_search_bits.ts'

/** Every migration, in order. Named here rather than by file, so that .ts and built .js are one history. */
const migrations: Record<string, Knex.Migration> = {
  '0001_accounts_and_feeds': accountsAndFeeds,
  '0002_documents': documents,
  '0003_conflicts': conflicts,
  '0004_taken_edits': takenEdits,
  '0005_mail': mail,
  '0006_account_life': accountLife,
  '0007_reminders': reminders,
  '0008_audit': audit,
  '0009_deleted_accounts': deletedAccounts,
  '0010_fair_reminders': fairReminders,
  '0011_mail_allowance': mailAllowance,
  '0012_refused_rows_and_changed_fields': refusedRows,
  '0013_references': references,
  '0014_epochs': epochs,
  '0015_timelines': timelines,
  '0016_horizons': horizons,
  '0017_keys_by_user': keysByUser,
  '0018_feed_positions': feedPositions,
  '0019_quick_reminder_plans': quickReminderPlans,
  '0020_journal_by_document': journalByDocument,
  '0021_account_events': accountEvents,
  '0022_renewals': renewals,
  '0023_factors': factors,
  '0024_no_address': noAddress,
  '0025_quota': quota,
  '0026_unconfirmed_accounts': unconfirmedAccounts,
  '0027_lookups_by_id': lookupsById,
  '0028_light_writes': lightWrites,
  '0029_personal_tokens': personalTokens,
  '0030_idempotency_keys': idempotencyKeys,
  '0031_sort_indexes': sortIndexes,
  '0032_revisions': revisions,
  '0033_search': search,
  '0034_search_bits': searchBits,
}

export const migrationSource: Knex.MigrationSource<string> = {
  getMigrations: async () => Object.keys(migrations),
  getMigrationName: (name) => name,
  getMigration: async (name) => migrations[name]!,
}
