import type { Knex } from 'knex'

export async function up(knex: Knex): Promise<void> {
  await knex.raw(`
    -- An account whose address belongs to somebody else, who has said so.
    alter table users alter column email drop not null;
    ${nameUser('is distinct from', 'own.name is not null and ')}
  `)
}

export async function down(knex: Knex): Promise<void> {
  await knex.raw(`
    update users set email = id || '@example.invalid' where email is null;
    alter table users alter column email set not null;
    ${nameUser('<>')}
  `)
}

/** Keeps the names of a user that a node of the release before writes. */
const nameUser = (differs: string, isNamed = '') => `
    create or replace function name_user() returns trigger language plpgsql as $$
    begin
      if tg_op = 'DELETE' then
        delete from names where user_id = old.id;
        return null;
      end if;
      insert into names
        select own.kind, own.name, new.id
        from (values ('username'::names_kind, lower(new.username)), ('email', lower(new.email))) own (kind, name)
        where ${isNamed}not exists (
          select from names n where n.kind = own.kind and n.name = own.name and n.user_id = new.id);
      delete from names where user_id = new.id and (
        kind = 'username' and name <> lower(new.username) or kind = 'email' and name ${differs} lower(new.email));
      return null;
    end $$;`
