"""One NWB file to staged Parquet files, in worker processes."""
