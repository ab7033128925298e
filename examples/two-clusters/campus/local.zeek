##! What every node of the cluster "campus" loads.

# What Zeek's own local.zeek has; "site/" tells it from this file.
@load site/local

@load ./detect/long-connections

redef Site::local_nets += {
	10.20.0.0/16,
	[2001:db8:20::]/48,
};

redef digest_salt = "one of your own";
