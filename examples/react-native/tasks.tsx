import { useClient, useRejected, useSyncStatus, useTasks } from '@tasktide/client/react-native'
import { useState } from 'react'
import { Button, FlatList, Pressable, Text, TextInput, View } from 'react-native'

export function Tasks() {
  const client = useClient()
  const tasks = useTasks(client)
  const { status, pending, last_synced_at } = useSyncStatus(client)
  const [title, setTitle] = useState('')
  if (!tasks) return null // they are being read

  async function add() {
    await client.tasks.add({ title })
    setTitle('')
  }

  return (
    <View style={{ flex: 1 }}>
      <TextInput
        placeholder="New task"
        value={title}
        onChangeText={setTitle}
        onSubmitEditing={add}
      />
      <FlatList
        data={tasks}
        keyExtractor={({ id }) => id}
        ListEmptyComponent={<Text>{last_synced_at ? 'No tasks yet' : 'Downloading…'}</Text>}
        renderItem={({ item: { id, title, completed } }) => (
          <Pressable
            accessibilityRole="checkbox"
            accessibilityState={{ checked: completed }}
            onPress={() => client.tasks.complete(id, !completed)}
            onLongPress={() => client.tasks.softDelete(id)}
          >
            <Text>{`${completed ? '☑' : '☐'} ${title}`}</Text>
          </Pressable>
        )}
      />
      <Rejected />
      <Text>{pending > 0 ? `${status}, ${pending} unsent` : status}</Text>
      <Button title="Sign out" onPress={() => client.session.signOut({ keepData: true })} />
    </View>
  )
}

/** Edits that the server did not accept are never lost: the user decides. */
function Rejected() {
  const rejected = useRejected(useClient()) ?? []
  return rejected.map((edit) => (
    <View key={edit.rejected_at}>
      <Text accessibilityRole="alert">{Object.values(edit.errors).flat().join(' ')}</Text>
      <Button title="Discard" onPress={() => edit.discard()} />
    </View>
  ))
}
