-- A database of some 15 MB made from a counter alone (random() would differ from run to run).
pragma page_size = 4096;
pragma journal_mode = memory;
pragma synchronous = off;
pragma temp_store = memory;
pragma cache_size = -40000;

create table customer (id integer primary key, name text, city text, note text);
create table sale (id integer primary key, customer integer, item text, cents integer, day integer);

begin;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 30000)
insert into customer
  select i, printf('customer %06d', i * 7919 % 30011), printf('city %03d', i * 31 % 499),
         hex(zeroblob(i * 13 % 120)) from n;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000)
insert into sale
  select i, i * 104729 % 30000 + 1, printf('item-%04x', i * 40503 % 65536), i * 271 % 100000,
         i * 17 % 3650 from n;
commit;
create index sale_customer on sale (customer, day);
create index sale_item on sale (item);
create index customer_name on customer (name);
analyze;

select 'join', city, count(*), sum(cents) from customer c join sale s on s.customer = c.id
  group by city order by sum(cents) desc, city limit 12;
select 'text', length(group_concat(item || ':' || cents)), count(distinct item) from sale;
select 'window', sum(total), max(place) from (
  select customer, sum(cents) total, rank() over (order by sum(cents) desc, customer) place
  from sale group by customer);
select 'subquery', count(*) from customer c
  where (select sum(cents) from sale s where s.customer = c.id and s.day < 1200) > 90000;
select 'like', count(*), sum(length(name)) from customer where name like '%77%' or note glob '*00*00*';
select 'json', length(j), json_extract(j, '$[19999].n') from (
  select json_group_array(json_object('n', name, 'c', city, 'k', json_array(id, id + 1))) j
  from (select * from customer order by id limit 20000));
select 'sort', group_concat(name, ',') from (
  select name from customer order by substr(name, -3), name desc limit 5);
with recursive path(n, trail) as (
  select 1, '1' union all select n + 1, trail || '>' || (n * 37 % 101) from path where n < 3000)
select 'recursive', count(*), sum(length(trail)), max(length(trail)) from path;

begin;
update sale set item = item || '-' || substr('abcdefghij', id % 10, 5) where id % 3 = 0;
delete from sale where day between 500 and 900;
savepoint dropped;
delete from customer where id % 2 = 0;
rollback to dropped;
commit;
create virtual table notes using fts5(name, city);
insert into notes select name, city from customer where id <= 12000;
select 'full text', count(*) from notes where notes match 'city AND 04*';
insert into notes(notes) values ('optimize');
vacuum;
select 'left', count(*), sum(cents), sum(length(item)) from sale;
pragma integrity_check;
select 'integrity|ok' where (select count(*) from pragma_integrity_check where integrity_check = 'ok') = 1;
