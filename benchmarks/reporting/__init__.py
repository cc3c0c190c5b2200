"""Result rows: files, queries, targets, tables and figures."""
