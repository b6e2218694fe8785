/** Labels of fields. */
export const FIELD_NAMES: Readonly<Record<string, string>> = {
  title: 'Title',
  description: 'Description',
  category_id: 'Category',
  priority: 'Priority',
  due_date: 'Due date',
  due_time: 'Due time',
  remind_at: 'Reminder',
  completed: 'Done',
  name: 'Name',
  color: 'Colour',
  display_name: 'Display name',
  bio: 'Bio',
  timezone: 'Timezone',
  locale: 'Language',
  email_notifications: 'Email notifications',
  remind_minutes_before: 'Reminder (minutes before)',
  remind_all_day_at: 'Reminder time (all day)',
  digest_at: 'Daily summary',
}

export const titleOf = (document: object) => {
  const { title, name } = document as { title?: string; name?: string }
  return title ?? name ?? 'a task'
}

export const shortened = (text: string, most = 80) =>
  text.length > most ? `${text.slice(0, most)}…` : text
