-- 0004_account_marks: the paper account keeps what every shape of a loss rule is measured from.
--
-- database  signals
-- reads     equity
-- result    the tables of version 4
alter table equity add column day_start_equity_usd decimal(28, 8);
alter table equity add column highest_day_start_usd decimal(28, 8);
alter table equity add column highest_equity_usd decimal(28, 8);
