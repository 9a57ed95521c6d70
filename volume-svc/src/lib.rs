//! EBS volumes, fleets and migrations.
