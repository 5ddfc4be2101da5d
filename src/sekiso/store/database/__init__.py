"""The appliance's database: records by topic over SQLAlchemy, SQLite or PostgreSQL."""
