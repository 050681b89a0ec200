-- The changes of one deployment, without the log of all others.
CREATE INDEX control_log_by_deployment ON kedge.control_log (deployment, seq) WHERE deployment IS NOT NULL;

-- Peers, which lie beside the control record.
CREATE INDEX deployments_peers ON kedge.deployments (name) WHERE kind = 'external';
