-- JSON that clients keep is written in one way: numbers of earlier versions had two.
--
-- same_json() is the application's. A text that would be too long as it writes it stays as it
-- is, which changes none of its values.

UPDATE OR IGNORE agent_runs SET metadata = same_json(metadata)
WHERE metadata <> '{}' AND metadata <> same_json(metadata);

UPDATE OR IGNORE pipeline_states SET metadata = same_json(metadata)
WHERE metadata <> '{}' AND metadata <> same_json(metadata);

UPDATE OR IGNORE test_results SET result_data = same_json(result_data)
WHERE result_data <> '{}' AND result_data <> same_json(result_data);

UPDATE OR IGNORE grainchain_snapshots SET config = same_json(config)
WHERE config <> '{}' AND config <> same_json(config);

UPDATE OR IGNORE grainchain_snapshots SET validation_results = same_json(validation_results)
WHERE validation_results <> '{}' AND validation_results <> same_json(validation_results);

UPDATE OR IGNORE system_logs SET context = same_json(context)
WHERE context <> '{}' AND context <> same_json(context);
