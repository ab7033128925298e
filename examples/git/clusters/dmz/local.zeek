# Site scripts of the cluster dmz: see README.md.
@load frameworks/intel/seen
redef Intel::read_files += { @DIR + "/intel.dat" };
