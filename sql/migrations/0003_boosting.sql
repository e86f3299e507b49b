-- 0003_boosting: decisions and signals keep what the boosting member said beside the networks.
--
-- database  signals
-- reads     decisions, signals
-- result    the tables of version 3
alter table decisions add column p_boosting double;
alter table signals add column p_boosting double;
alter table signals add column boosting_model_id varchar;
