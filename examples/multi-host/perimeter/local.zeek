##! What every node of the cluster "perimeter" loads, on whatever host.

@load tuning/json-logs
@load misc/stats
@load protocols/conn/known-hosts
@load protocols/ssl/validate-certs

redef Site::local_nets += { 192.0.2.0/24 };

# Sampled on workers; the others never see traffic.
@if ( Cluster::local_node_type() == Cluster::WORKER )
@load misc/capture-loss
@endif
