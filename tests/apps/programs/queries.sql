-- What is asked of PostgreSQL after pgbench: every answer is exact and ordered.

-- The tables agree with each other: pgbench adds one delta to an account, a teller and a branch.
select 'history', count(*), sum(delta) from pgbench_history;
select 'sums', (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers),
       (select sum(bbalance) from pgbench_branches);
select 'accounts', md5(string_agg(aid || ':' || abalance, ',' order by aid)) from pgbench_accounts;

-- Sorts, hash joins and window functions over a table of strings.
create table words as
  select i as id, md5(i::text) as word, repeat(chr(97 + i % 26), i % 90) as padding, i % 997 as grp
  from generate_series(1, 120000) i;
analyze words;
select 'groups', count(*), md5(string_agg(grp || ':' || n || ':' || longest, ',' order by grp))
  from (select grp, count(*) n, max(word || padding) longest from words group by grp) g;
select 'join', count(*), sum(length(a.word || b.padding))
  from words a join words b on a.id = b.id + 7 and a.grp < b.grp + 900;
select 'window', md5(string_agg(word || r, '' order by id))
  from (select id, word, rank() over (partition by grp order by word desc) r from words) w
  where r <= 3;
select 'distinct', count(distinct left(word, 4)), count(distinct padding) from words;

-- Large values: aggregates, arrays, JSON, regular expressions.
select 'json', length(j::text), md5(j::text) from (
  select jsonb_agg(jsonb_build_object('id', id, 'word', word, 'list', array[grp, grp + 1, id]) order by id) j
  from words where id <= 20000) x;
select 'json paths', sum((e ->> 'id')::int), count(*) filter (where e -> 'list' @> '5') from (
  select jsonb_array_elements(jsonb_agg(jsonb_build_object('id', id, 'list', array[grp, id]))) e
  from words where id <= 20000) x;
select 'text', length(t), md5(t), md5(regexp_replace(t, '([0-9])([a-f])', '\2\1', 'g'))
  from (select string_agg(word, ' ' order by word) t from words where id <= 10000) x;
select 'array', cardinality(a), a[1], a[60000], a[120000]
  from (select array_agg(word order by word desc) a from words) x;
with recursive tree(n, path) as (
  select 1, '1'
  union all
  select n * 2 + b, path || '.' || n from tree, (values (0), (1)) v(b) where n < 8000)
select 'recursive', count(*), md5(string_agg(path, ',' order by path, n)) from tree;

-- Server-side code, cursors, temporary tables, savepoints, and an index built by sorting.
do $$
declare
  part text; total bigint := 0;
begin
  for part in select word from words order by word limit 30000 loop
    begin
      total := total + length(part || repeat(part, 3));
      if total % 1000 = 0 then raise exception 'rolled back'; end if;
    exception when raise_exception then
      total := total + 1;
    end;
  end loop;
  create temporary table answer as select total;
end $$;
select 'loop', total from answer;
create index words_word on words (word, padding);
set enable_seqscan = off;
select 'index', count(*), min(word), max(word) from words where word between '3' and '9';
begin;
delete from words where id % 3 = 0;
savepoint kept;
update words set padding = padding || word;
rollback to kept;
commit;
select 'left', count(*), sum(length(padding)) from words;
