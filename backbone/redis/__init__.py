"""Redis or Valkey, commands of Redis 7.0 only: partitioned streams and the functions that write them exactly once."""
