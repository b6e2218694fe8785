import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- What a field that refers to other documents needs, for migrations to call. A document may refer to
    -- a row that is deleted or gone while a transaction lasts, but not when it ends: whatever is left to
    -- do by then, a batch has been written in its own order.
    create function add_reference(referring text, field text, target text, on_delete text)
    returns void language plpgsql as $$
    begin
      if on_delete not in ('clear', 'cascade') then
        raise exception 'on_delete is clear or cascade, not %', on_delete;
      end if;
      execute format(
        'create index if not exists %I on %I (user_id, %I) where %I is not null',
        referring || '_' || field || '_refers', referring, field, field);
      execute format(
        'alter table %I add constraint %I foreign key (user_id, %I) references %I (user_id, id)
         deferrable initially deferred',
        referring, referring || '_' || field, field, target);
      execute format(
        case on_delete
          when 'clear' then
            'create constraint trigger %I after insert or update of %I on %I
             deferrable initially deferred for each row when (new.%I is not null)
             execute function check_reference(%L, %L, %L)'
          else
            'create constraint trigger %I after insert or update of %I, deleted on %I
             deferrable initially deferred for each row when (new.%I is not null and not new.deleted)
             execute function check_reference(%L, %L, %L)'
        end,
        referring || '_' || field || '_live', field, referring, field, field, target, on_delete);
      execute format(
        'create trigger %I after update of deleted on %I
         for each row when (new.seq > 0 and (new.deleted <> old.deleted or old.seq <= 0))
         execute function release_references(%L, %L, %L)',
        referring || '_' || field || '_released', target, referring, field, on_delete);
      execute format(
        'create trigger %I after delete on %I
         for each row execute function release_references(%L, %L, %L)',
        referring || '_' || field || '_removed', target, referring, field, on_delete);
    end $$;

    -- A foreign key is content with a deleted document, because its row is still there. Whoever writes a
    -- reference has looked, but the document may be deleted while the writer waits for its turn. What a
    -- cascade has deleted goes on referring to what took it.
    create function check_reference() returns trigger language plpgsql as $$
    declare
      field     constant text := tg_argv[0];
      target    constant text := tg_argv[1];
      on_delete constant text := tg_argv[2];
      id        constant uuid := row_to_json(new) ->> field;
      live      constant text := format('%s %s %s', target, new.user_id, id);
      is_wrong  boolean;
    begin
      -- Many documents that refer to one ask once: its state is that of the end for all of them. To plan
      -- the question takes far longer than to answer it.
      if current_setting('tasktide.live', true) is distinct from live then
        execute format('select true from %I where user_id = $1 and id = $2 and deleted and seq > 0', target)
          into is_wrong using new.user_id, id;
        if is_wrong is null then perform set_config('tasktide.live', live, true); end if;
      end if;
      if is_wrong then
        -- Unless it has been released since.
        execute format(
          'select true from %I where user_id = $1 and id = $2 and %I = $3 %s',
          tg_table_name, field, case on_delete when 'cascade' then 'and not deleted' end)
          into is_wrong using new.user_id, new.id, id;
      end if;
      if is_wrong then
        raise foreign_key_violation using
          message = format('%s: what it refers to is deleted', field), table = tg_table_name,
          constraint = tg_table_name || '_' || field;
      end if;
      -- The store has looked for circles where it writes many documents at once (statements.ts).
      if tg_table_name = target and current_setting('tasktide.trees', true) is distinct from 'checked'
        and (tg_op = 'INSERT' or row_to_json(old) ->> field is distinct from id::text)
      then
        execute format(
          'with recursive above (id) as (
             select $3
             union
             select (select t.%I from %I t where t.user_id = $1 and t.id = above.id)
             from above where id is not null
           )
           select true from above where id = $2',
          field, target)
          into is_wrong using new.user_id, new.id, id;
        if is_wrong then
          raise foreign_key_violation using
            message = format('%s: it would refer to itself', field), table = tg_table_name,
            constraint = tg_table_name || '_' || field;
        end if;
      end if;
      return null;
    end $$;

    -- What becomes of what refers to a document that is deleted or restored, or whose row is removed. Each
    -- such change is a change of its own. They take their numbers as one range: one by one, each would
    -- leave another version of the counter's row.
    create function release_references() returns trigger language plpgsql as $$
    declare
      referring constant text := tg_argv[0];
      field     constant text := tg_argv[1];
      on_delete constant text := tg_argv[2];
      target    record;
      change    text;
      whose     text;
      affected  uuid[];
      first     bigint;
      other     text[];
    begin
      if tg_op = 'DELETE' then target := old; else target := new; end if;
      if on_delete = 'cascade' and tg_op = 'DELETE' then
        execute format('delete from %I where user_id = $1 and %I = $2', referring, field)
          using target.user_id, target.id;
        return null;
      end if;
      if on_delete = 'clear' then
        if not target.deleted and tg_op = 'UPDATE' then return null; end if;
        whose := 'true';
        change := format('%I = null, changed = t.changed || jsonb_build_object(%L, now.ms)', field, field);
      -- Under the name of the field stands when it took the document: so long as that was the last
      -- time that the document was deleted, it comes back with what it refers to.
      elsif target.deleted then
        whose := 'not t.deleted';
        change := format(
          'deleted = true, changed = t.changed || jsonb_build_object(''_deleted'', now.ms, %L, now.ms)',
          '_deleted.' || field);
      else
        whose := format('t.deleted and t.changed -> ''_deleted'' = t.changed -> %L', '_deleted.' || field);
        change := 'deleted = false, changed = t.changed || jsonb_build_object(''_deleted'', now.ms)';
      end if;

      -- All levels of a tree at once: one trigger within another, it could be too deep for the stack.
      execute case when on_delete = 'cascade' and referring = tg_table_name then format(
        'with recursive below (id, seq) as (
           select t.id, t.seq from %1$I t where t.user_id = $1 and t.%2$I = $2 and %3$s
           union
           select t.id, t.seq from below cross join lateral (
             select * from %1$I t where t.user_id = $1 and t.%2$I = below.id and %3$s offset 0
           ) t
         )
         select array_agg(id order by seq) from below where id <> $2',
        referring, field, whose)
      else format(
        'select array_agg(id order by seq) from %I t where t.user_id = $1 and t.%I = $2 and %s',
        referring, field, whose)
      end into affected using target.user_id, target.id;
      if affected is null then return null; end if;

      update feeds set seq = seq + cardinality(affected) where user_id = target.user_id
        returning seq - cardinality(affected) into first;
      execute format(
        'update %I t set %s, updated_at = now.at, seq = coalesce($3 + now.nth, t.seq)
         from (
           select one.id, one.nth, now.at, (extract(epoch from now.at) * 1000)::bigint as ms
           from unnest($2) with ordinality as one (id, nth)
           join %I was on was.user_id = $1 and was.id = one.id
           cross join lateral (select greatest(was.updated_at + interval ''1 millisecond'', $4) as at) now
         ) now
         where t.user_id = $1 and t.id = now.id',
        referring, change, referring)
        using target.user_id, affected, first, target.updated_at;

      -- What has come back goes again with what else it refers to, if that is deleted by now.
      if on_delete = 'cascade' and not target.deleted then
        for other in
          select string_to_array(encode(tgargs, 'escape'), '\\000') from pg_trigger
          where tgrelid = referring::regclass and tgfoid = 'check_reference'::regproc
          order by tgname
        loop
          continue when other[3] <> 'cascade';
          execute format(
            'update %1$I t set deleted = true, updated_at = t.updated_at + interval ''1 millisecond'',
               changed = t.changed || jsonb_build_object(''_deleted'', ms, %2$L, ms)
             from (
               select was.id,
                 (extract(epoch from was.updated_at + interval ''1 millisecond'') * 1000)::bigint as ms
               from %1$I was join %3$I d on d.user_id = $1 and d.id = was.%4$I and d.deleted and d.seq > 0
               where was.user_id = $1 and was.id = any ($2) and not was.deleted
             ) now
             where t.user_id = $1 and t.id = now.id',
            referring, '_deleted.' || other[1], other[2], other[1])
            using target.user_id, affected;
        end loop;
      end if;
      return null;
    end $$;

    drop trigger categories_deleted on categories;
    drop trigger tasks_category_live on tasks;
    drop function empty_category, refuse_deleted_category;
    alter table tasks drop constraint tasks_category_id;
    alter index tasks_category rename to tasks_category_id_refers;
    select add_reference('tasks', 'category_id', 'categories', 'clear');
  `)
}

/** As 0002 and 0012 have made it. */
export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    drop trigger tasks_category_id_live on tasks;
    drop trigger tasks_category_id_released on categories;
    drop trigger tasks_category_id_removed on categories;
    alter table tasks drop constraint tasks_category_id;
    drop function add_reference, check_reference, release_references;
    alter index tasks_category_id_refers rename to tasks_category;
    alter table tasks add constraint tasks_category_id foreign key (user_id, category_id)
      references categories (user_id, id) on delete set null (category_id);
    create function empty_category() returns trigger language plpgsql as $$
    declare
      affected bigint;
      first    bigint;
    begin
      select count(*) into affected from tasks where user_id = new.user_id and category_id = new.id;
      if affected = 0 then return null; end if;
      update feeds set seq = seq + affected where user_id = new.user_id
        returning seq - affected into first;
      update tasks t
        set category_id = null, updated_at = greatest(t.updated_at + interval '1 millisecond', new.updated_at),
            seq = first + numbered.nth, changed = t.changed || jsonb_build_object('category_id', (extract(epoch from
          greatest(t.updated_at + interval '1 millisecond', new.updated_at)) * 1000)::bigint)
        from (
          select id, row_number() over (order by seq) as nth from tasks
          where user_id = new.user_id and category_id = new.id
        ) numbered
        where t.user_id = new.user_id and t.id = numbered.id;
      return null;
    end $$;
    create trigger categories_deleted after update of deleted on categories
      for each row when (new.deleted and new.seq > 0 and (not old.deleted or old.seq = 0))
      execute function empty_category();
    create function refuse_deleted_category() returns trigger language plpgsql as $$
    begin
      if exists (
        select from categories
        where user_id = new.user_id and id = new.category_id and deleted and seq > 0
      ) then
        raise foreign_key_violation
          using message = 'the category is deleted', constraint = 'tasks_category_id', table = 'tasks';
      end if;
      return new;
    end $$;
    create trigger tasks_category_live before insert or update of category_id on tasks
      for each row when (new.category_id is not null) execute function refuse_deleted_category();
  `)
}
