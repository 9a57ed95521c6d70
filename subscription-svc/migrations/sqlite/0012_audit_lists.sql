-- The audit of a graph, and of a subscription, newest first.
CREATE INDEX audit_of_graph ON audit (graph_id, audit_id) WHERE graph_id IS NOT NULL;
CREATE INDEX audit_of_subscription ON audit (subscription_id, audit_id) WHERE subscription_id IS NOT NULL;
