-- The auditor tells how old the oldest open transaction is, whoever's it is.
GRANT pg_read_all_stats TO mambogo_audit;
