# The layout of TestZeek: only worker_1 is there, and the test in the place of the logger.
redef Cluster::manager_is_logger = F;
redef Cluster::nodes = {
	["manager"] = [$node_type=Cluster::MANAGER, $ip=127.0.0.1],
	["logger"] = [$node_type=Cluster::LOGGER, $ip=127.0.0.1, $p=LOGGER/tcp],
	["worker_1"] = [$node_type=Cluster::WORKER, $ip=127.0.0.1],
};
